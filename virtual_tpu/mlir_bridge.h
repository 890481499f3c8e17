#ifndef TF_EMBED_VIRTUAL_TPU_MLIR_BRIDGE_H_
#define TF_EMBED_VIRTUAL_TPU_MLIR_BRIDGE_H_

namespace tf_embed::virtual_tpu {

// Keeps TensorFlow's MLIR passes from functions. The TPU bridge among them,
// which a program can ask for by tf.config.experimental.enable_mlir_bridge,
// would compile TPU computations for hardware before we see them; the other
// passes are off by default.
void SwitchOffMlirBridge();

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_MLIR_BRIDGE_H_
