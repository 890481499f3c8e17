#ifndef TF_EMBED_VIRTUAL_TPU_DEVICE_NAMES_H_
#define TF_EMBED_VIRTUAL_TPU_DEVICE_NAMES_H_

#include <string>

namespace tf_embed::virtual_tpu {

inline constexpr char kTpuType[] = "TPU";
inline constexpr char kTpuSystemType[] = "TPU_SYSTEM";
inline constexpr char kHostDevice[] =
    "/job:localhost/replica:0/task:0/device:CPU:0";

// The full name of TPU:`core`.
inline std::string CoreDevice(int core) {
  return "/job:localhost/replica:0/task:0/device:TPU:" + std::to_string(core);
}

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_DEVICE_NAMES_H_
