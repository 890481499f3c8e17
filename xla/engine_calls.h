#ifndef TF_EMBED_XLA_ENGINE_CALLS_H_
#define TF_EMBED_XLA_ENGINE_CALLS_H_

namespace tf_embed {

// The custom calls by which a program compiled by XLA:CPU reaches the engine,
// registered for platform "Host" with the typed FFI. The lowerings of the ops
// are built of them.
//
// Each takes as last operand and gives as last result the `sequence` of
// call_sequence.h, which it always gives as 0.
//
//   kReceive      (sequence) -> (ticket s64[], sequence)
//   kLookUp       (ticket, sequence) -> (activation f32[cores * P_f, D_f] for
//                 each feature f, sequence)
//   kActivations  kReceive and kLookUp in one:
//                 (sequence) -> (activations, sequence)
//   kSend         (gradients, learning rates f32[], sequence) -> sequence
//   kSendBatch    (gradients, learning rates, ticket, sequence) -> sequence
//   kWait         (anything, sequence) -> sequence
//
// Attributes of all but kWait:
//   config      the op's serialized TPUEmbeddingConfiguration
//   first_core  the first core that the op speaks for
//   num_cores   how many
//
// Shapes are those that the config gives; activations and gradients may have
// any rank. A call that fails fails the program with the engine's status.
struct EngineCall {
  static constexpr char kReceive[] = "tf_embed_receive";
  static constexpr char kLookUp[] = "tf_embed_look_up";
  static constexpr char kActivations[] = "tf_embed_activations";
  static constexpr char kSend[] = "tf_embed_send";
  static constexpr char kSendBatch[] = "tf_embed_send_batch";
  static constexpr char kWait[] = "tf_embed_wait";

  static constexpr char kConfig[] = "config";
  static constexpr char kFirstCore[] = "first_core";
  static constexpr char kNumCores[] = "num_cores";
};

}  // namespace tf_embed

#endif  // TF_EMBED_XLA_ENGINE_CALLS_H_
