#include "kernels/dedup_tuple_mask.h"

#include <memory>
#include <string>
#include <utility>

#include "kernels/config_attr.h"
#include "kernels/op_attrs.h"
#include "kernels/status_bridge.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor.pb.h"

namespace tf_embed {
namespace {

using ::tensorflow::Tensor;
using ::tensorflow::TensorShape;

StatusOr<DedupMask> ParseMask(const std::string& serialized, const char* op,
                              int num_cores) {
  tensorflow::TensorProto proto;
  Tensor tensor;
  if (!proto.ParseFromString(serialized) || !tensor.FromProto(proto) ||
      tensor.dtype() != tensorflow::DT_INT32 || tensor.dims() != 2 ||
      tensor.dim_size(1) != 2) {
    return InvalidArgument(
        "Malformed `tuple_mask` attr in ", op,
        " Op. It must be a serialized TensorProto of an int32 matrix with a "
        "row (type, span) for each run of elements");
  }
  const auto rows = tensor.matrix<int32_t>();
  DedupMask mask;
  mask.num_cores = num_cores;
  for (int64_t r = 0; r < tensor.dim_size(0); ++r) {
    const int type = rows(r, 0);
    const int span = rows(r, 1);
    if (type != kDedupIntegers && type != kDedupFloats) {
      return InvalidArgument(op, ": row ", r, " of tuple_mask has type ", type,
                             "; must be 0 (integer) or 1 (float)");
    }
    if (span < 0 || span % num_cores != 0) {
      return InvalidArgument(op, ": row ", r, " of tuple_mask has span ", span,
                             "; must be >= 0 and divisible by ", num_cores,
                             ", the cores per replica");
    }
    mask.runs.push_back({static_cast<DedupElementType>(type), span});
    (type == kDedupIntegers ? mask.integers : mask.floats) += span;
  }
  if (mask.integers == 0) {
    return InvalidArgument(
        op,
        ": tuple_mask has no integer, which is where the number of the "
        "batch goes; use the mask of ComputeDedupDataTupleMask");
  }
  return mask;
}

Status CheckLength(const TensorShape& shape, const char* name,
                   int64_t expected) {
  if (shape.dims() == 1 && shape.dim_size(0) == expected) return OkStatus();
  return InvalidArgument(name, " has shape ", shape.DebugString(),
                         "; tuple_mask says [", expected, "]");
}

}  // namespace

int NumDedupIntegers(const EngineConfig& config) {
  return config.cores_per_logical_core();
}

absl::Status ReadDedupMask(tensorflow::OpKernelConstruction* ctx,
                           const char* op, DedupMask* mask) {
  std::unique_ptr<ConfigAttr> config;
  std::string serialized;
  absl::Status status = ReadOptionalConfig(ctx, &config);
  if (status.ok()) status = ctx->GetAttr("tuple_mask", &serialized);
  if (!status.ok()) return status;
  const int num_cores = config->config() == nullptr
                            ? 1
                            : config->config()->cores_per_logical_core();
  StatusOr<DedupMask> read = ParseMask(serialized, op, num_cores);
  if (!read.ok()) return ToAbsl(read.status());
  *mask = *std::move(read);
  return absl::OkStatus();
}

Status CheckDedupTensors(const DedupMask& mask, const TensorShape& integers,
                         const TensorShape& floats) {
  TF_EMBED_RETURN_IF_ERROR(
      CheckLength(integers, "integer_tensor", mask.integers));
  return CheckLength(floats, "float_tensor", mask.floats);
}

}  // namespace tf_embed
