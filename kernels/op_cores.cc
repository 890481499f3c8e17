#include "kernels/op_cores.h"

#include <string>

#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/util/device_name_utils.h"

namespace tf_embed {

StatusOr<CoreRange> CoresOfDevice(const std::string& device, int index,
                                  const EngineConfig& config) {
  const int count = config.cores_per_logical_core();
  const int num_cores = config.num_tensor_cores;
  if (count <= 0) {
    return InvalidArgument("spmd_sharding.num_cores_per_replica is ", count,
                           "; must be >= 1");
  }
  if (num_cores == count) return CoreRange{0, count};
  if (index < 0 || index % count != 0 || index + count > num_cores) {
    std::string allowed = StrCat("indices in [0, ", num_cores, ")");
    if (count > 1) {
      allowed +=
          StrCat(" that are multiples of num_cores_per_replica, ", count);
    }
    return InvalidArgument(
        "The op runs on device ", device, " and its index, ", index,
        ", says which TPU core the op speaks for. The TPU embedding "
        "configuration has num_tensor_cores = ",
        num_cores, ", so devices with ", allowed,
        " are allowed; place the op with tf.device, or create more logical "
        "devices");
  }
  return CoreRange{index, count};
}

StatusOr<CoreRange> CoresOfOp(tensorflow::OpKernelContext* ctx,
                              const EngineConfig& config) {
  const auto& name = ctx->device()->parsed_name();
  return CoresOfDevice(ctx->device()->name(), name.has_id ? name.id : 0,
                       config);
}

}  // namespace tf_embed
