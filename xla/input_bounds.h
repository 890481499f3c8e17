#ifndef TF_EMBED_XLA_INPUT_BOUNDS_H_
#define TF_EMBED_XLA_INPUT_BOUNDS_H_

#include "absl/status/statusor.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/core/framework/tensor_shape.h"

namespace tf_embed {

// The shape of an input; a dimension that is dynamic within a bound counts as
// its bound, which is what XLA pads it to.
absl::StatusOr<tensorflow::TensorShape> InputBounds(
    tensorflow::XlaOpKernelContext* ctx, int input);

}  // namespace tf_embed

#endif  // TF_EMBED_XLA_INPUT_BOUNDS_H_
