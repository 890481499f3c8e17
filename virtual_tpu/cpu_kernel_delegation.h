#ifndef TF_EMBED_VIRTUAL_TPU_CPU_KERNEL_DELEGATION_H_
#define TF_EMBED_VIRTUAL_TPU_CPU_KERNEL_DELEGATION_H_

namespace tf_embed::virtual_tpu {

// Registers every CPU kernel of this process for the TPU devices too (those of
// TPU system ops for TPU_SYSTEM), except where a kernel is there already.
// Calling it again picks up what was registered since.
void DelegateToCpuKernels();

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_CPU_KERNEL_DELEGATION_H_
