#ifndef TF_EMBED_XLA_CALL_SEQUENCE_H_
#define TF_EMBED_XLA_CALL_SEQUENCE_H_

#include <vector>

#include "absl/status/status.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "xla/hlo/builder/xla_builder.h"

namespace tf_embed {

// XLA:CPU runs what does not depend on each other in any order or at once, so
// the calls of a computation are strung on a `sequence` in program order: s32[]
// of no meaning, which each takes as its last operand and gives as its last
// result. Each computation has a sequence of its own, the body of a loop too.
xla::XlaOp EndOfSequence(tensorflow::XlaOpKernelContext* ctx);
absl::Status ContinueSequence(tensorflow::XlaOpKernelContext* ctx,
                              xla::XlaOp sequence);

// Has whatever would come next in the sequence fail: nothing can wait for what
// is there.
absl::Status BreakSequence(tensorflow::XlaOpKernelContext* ctx);

// Has whatever comes next in the sequence wait for `values`, arrays, too.
absl::Status WaitInSequence(tensorflow::XlaOpKernelContext* ctx,
                            const std::vector<xla::XlaOp>& values);

// `value`, an array, which is there only after all that the sequence has come
// by, whatever the compiler knows of the value.
absl::StatusOr<xla::XlaOp> InSequence(tensorflow::XlaOpKernelContext* ctx,
                                      xla::XlaOp value);

}  // namespace tf_embed

#endif  // TF_EMBED_XLA_CALL_SEQUENCE_H_
