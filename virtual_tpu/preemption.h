#ifndef TF_EMBED_VIRTUAL_TPU_PREEMPTION_H_
#define TF_EMBED_VIRTUAL_TPU_PREEMPTION_H_

namespace tf_embed::virtual_tpu {

// Registers CheckPreemption, the op and its kernel, where TensorFlow has none:
// PreemptionCheckpointHandler runs it when it finds TPUs outside of Google's
// cloud, but the wheel has only its Python function. Call once.
void RegisterCheckPreemption();

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_PREEMPTION_H_
