#ifndef TF_EMBED_KERNELS_OP_CORES_H_
#define TF_EMBED_KERNELS_OP_CORES_H_

#include <string>

#include "tf_embed/base/status.h"
#include "tf_embed/engine/config.h"
#include "tf_embed/engine/engine.h"

namespace tensorflow {
class OpKernelContext;
}  // namespace tensorflow

namespace tf_embed {

// The cores that a Recv or Send speaks for. Where one op covers all cores, all
// of them, wherever the op runs. Else device i ("CPU:i", "TPU:i") is core i,
// and under SPMD the first core of its replica.
StatusOr<CoreRange> CoresOfOp(tensorflow::OpKernelContext* ctx,
                              const EngineConfig& config);

// The same for a device index, for callers without a context. `device` is for
// the message.
StatusOr<CoreRange> CoresOfDevice(const std::string& device, int index,
                                  const EngineConfig& config);

}  // namespace tf_embed

#endif  // TF_EMBED_KERNELS_OP_CORES_H_
