#ifndef TF_EMBED_KERNELS_STATUS_BRIDGE_H_
#define TF_EMBED_KERNELS_STATUS_BRIDGE_H_

#include "absl/status/status.h"
#include "tf_embed/base/status.h"

namespace tf_embed {

// The core's status as TensorFlow's. The codes have the same values.
inline absl::Status ToAbsl(const Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.code()),
                      status.message());
}

// The other direction, for the calls into TensorFlow whose failure must reach
// a caller in the core.
inline Status FromAbsl(const absl::Status& status) {
  if (status.ok()) return OkStatus();
  return Status(static_cast<StatusCode>(status.raw_code()),
                std::string(status.message()));
}

}  // namespace tf_embed

#endif  // TF_EMBED_KERNELS_STATUS_BRIDGE_H_
