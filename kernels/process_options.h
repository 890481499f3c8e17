#ifndef TF_EMBED_KERNELS_PROCESS_OPTIONS_H_
#define TF_EMBED_KERNELS_PROCESS_OPTIONS_H_

#include <chrono>
#include <optional>

#include "tf_embed/base/status.h"

namespace tf_embed {

// Settings of the whole process. Each begins with the value of its environment
// variable, read once.

// How long a Recv waits for its batch before it fails with DeadlineExceeded;
// nullopt, the default: for ever. TF_EMBED_RECV_TIMEOUT_S, in seconds; 0: for
// ever.
std::optional<std::chrono::nanoseconds> RecvTimeout();

// Whether engines configured from now on drop negative ids instead of refusing
// them. TF_EMBED_PRUNE_NEGATIVE_IDS=1.
bool PruneNegativeIds();

// Whether the environment variables above have values that mean something.
Status CheckEnvironment();

}  // namespace tf_embed

// For languages that call C. 0 or less: no limit.
extern "C" __attribute__((visibility("default"))) void
TfEmbed_SetRecvTimeoutSeconds(double seconds);
extern "C" __attribute__((visibility("default"))) double
TfEmbed_RecvTimeoutSeconds();
extern "C" __attribute__((visibility("default"))) void
TfEmbed_SetPruneNegativeIds(int prune);

#endif  // TF_EMBED_KERNELS_PROCESS_OPTIONS_H_
