#ifndef TF_EMBED_VIRTUAL_TPU_DEVICES_H_
#define TF_EMBED_VIRTUAL_TPU_DEVICES_H_

namespace tf_embed::virtual_tpu {

// Registers the factories of the TPU (NumCores() of them) and TPU_SYSTEM
// devices: CPU memory under another name. Takes effect in contexts and
// sessions that start afterwards.
void RegisterDevices();

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_DEVICES_H_
