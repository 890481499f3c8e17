#ifndef TF_EMBED_VIRTUAL_TPU_EAGER_FUNCTIONS_H_
#define TF_EMBED_VIRTUAL_TPU_EAGER_FUNCTIONS_H_

namespace tf_embed::virtual_tpu {

// TensorFlow hands a function that is called under tf.device("TPU:0") to XLA,
// which knows no virtual core. Makes such functions run op by op instead, and
// single ops that return shapes run on the host.
void RunEagerFunctionsWithoutXla();

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_EAGER_FUNCTIONS_H_
