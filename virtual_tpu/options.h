#ifndef TF_EMBED_VIRTUAL_TPU_OPTIONS_H_
#define TF_EMBED_VIRTUAL_TPU_OPTIONS_H_

#include <string>

#include "tf_embed/base/status.h"

namespace tf_embed::virtual_tpu {

inline constexpr int kMaxCores = 64;
inline constexpr char kCoresVariable[] = "TF_EMBED_VIRTUAL_TPU";
inline constexpr char kStrictVariable[] = "TF_EMBED_VIRTUAL_TPU_STRICT";

// "1" to "64". Empty, null and "0" mean off, which is 0.
StatusOr<int> ParseNumCores(const char* text);

// Cores of this process's virtual TPU; 0 until it is switched on.
int NumCores();

// Sets the number of cores, once. FailedPrecondition when it is on already
// with another number.
Status SetNumCores(int num_cores);

// Whether to warn of what a real TPU would refuse.
bool StrictMode();
void SetStrictMode(bool strict);

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_OPTIONS_H_
