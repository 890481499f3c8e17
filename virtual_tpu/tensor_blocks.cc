#include "virtual_tpu/tensor_blocks.h"

#include <cstdint>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::Tensor;
using tensorflow::TensorShape;

// Elements before, along and after a dimension, the latter in bytes.
struct Strides {
  int64_t outer = 1;
  int64_t size = 1;
  int64_t inner_bytes = 1;
};

Strides StridesOf(const TensorShape& shape, int dim, int64_t element_bytes) {
  Strides strides{1, shape.dim_size(dim), element_bytes};
  for (int i = 0; i < dim; ++i) strides.outer *= shape.dim_size(i);
  for (int i = dim + 1; i < shape.dims(); ++i) {
    strides.inner_bytes *= shape.dim_size(i);
  }
  return strides;
}

}  // namespace

Tensor Block(const Tensor& input, int dim, int index, int count) {
  TensorShape shape = input.shape();
  shape.set_dim(dim, shape.dim_size(dim) / count);
  Tensor block(input.dtype(), shape);
  const Strides s =
      StridesOf(shape, dim, tensorflow::DataTypeSize(input.dtype()));
  const int64_t bytes = s.size * s.inner_bytes;
  const auto* from = static_cast<const char*>(input.data());
  auto* to = static_cast<char*>(block.data());
  for (int64_t i = 0; i < s.outer; ++i) {
    std::memcpy(to + i * bytes, from + (i * count + index) * bytes, bytes);
  }
  return block;
}

void PutBlock(const Tensor& block, int dim, int index, int count,
              Tensor* output) {
  const Strides s =
      StridesOf(block.shape(), dim, tensorflow::DataTypeSize(block.dtype()));
  const int64_t bytes = s.size * s.inner_bytes;
  const auto* from = static_cast<const char*>(block.data());
  auto* to = static_cast<char*>(output->data());
  for (int64_t i = 0; i < s.outer; ++i) {
    std::memcpy(to + (i * count + index) * bytes, from + i * bytes, bytes);
  }
}

absl::Status CheckDivisible(const std::string& op, const TensorShape& shape,
                            int dim, int count) {
  if (dim < 0 || dim >= shape.dims() || shape.dim_size(dim) % count != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(op, ": dimension ", dim, " of shape ", shape.DebugString(),
                     " cannot be split into ", count));
  }
  return absl::OkStatus();
}

}  // namespace tf_embed::virtual_tpu
