#ifndef TF_EMBED_VIRTUAL_TPU_PARTITIONED_CALL_KERNELS_H_
#define TF_EMBED_VIRTUAL_TPU_PARTITIONED_CALL_KERNELS_H_

namespace tf_embed::virtual_tpu {

// Registers TPUPartitionedCall and the ops that choose its core, which
// TensorFlow may have itself on a TPU host.
void RegisterPartitionedCallKernels();

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_PARTITIONED_CALL_KERNELS_H_
