#include "xla/input_bounds.h"

#include "tensorflow/compiler/tf2xla/shape_util.h"
#include "xla/shape.h"

namespace tf_embed {

absl::StatusOr<tensorflow::TensorShape> InputBounds(
    tensorflow::XlaOpKernelContext* ctx, int input) {
  const absl::StatusOr<xla::Shape> shape = ctx->InputXlaShape(input);
  if (!shape.ok()) return shape.status();
  tensorflow::TensorShape bounds;
  const absl::Status status =
      tensorflow::XLAShapeToTensorShape(*shape, &bounds);
  if (!status.ok()) return status;
  return bounds;
}

}  // namespace tf_embed
