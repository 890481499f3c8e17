#ifndef TF_EMBED_VIRTUAL_TPU_PRIVATE_VARIABLES_H_
#define TF_EMBED_VIRTUAL_TPU_PRIVATE_VARIABLES_H_

// A variable that several replicas share, and write. On a TPU it is read once,
// before the step; each replica works on that value, and what the first replica
// makes of it is what the variable holds after the step. So the first replica
// works with the variable itself, and each other one with a variable of its
// own.

namespace tf_embed::virtual_tpu {

// Makes a variable with the value of another, for the rest of the step. Hands
// on the handle of what is no variable: tables, iterators and queues stay
// shared.
inline constexpr char kPrivateVariableOp[] = "TfEmbedPrivateVariable";

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_PRIVATE_VARIABLES_H_
