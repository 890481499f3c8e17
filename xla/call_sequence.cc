#include "xla/call_sequence.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tensorflow/compiler/tf2xla/xla_compiler.h"
#include "xla/engine_calls.h"
#include "xla/hlo/builder/lib/constants.h"
#include "xla/shape_util.h"

namespace tf_embed {
namespace {

using ::tensorflow::XlaOpKernelContext;

// The sequence is kept among the side-effect tokens of the computation, which
// come and go with it. A token is set once, so each link has its own.
std::string LinkName(int link) {
  return absl::StrCat("tf_embed/sequence/", link);
}

int NumLinks(XlaOpKernelContext* ctx, xla::XlaOp* last) {
  int num_links = 0;
  for (;;) {
    const absl::StatusOr<xla::XlaOp> link =
        ctx->compiler()->GetNodeToken(LinkName(num_links));
    if (!link.ok()) return num_links;
    *last = *link;
    ++num_links;
  }
}

}  // namespace

xla::XlaOp EndOfSequence(XlaOpKernelContext* ctx) {
  xla::XlaOp last;
  if (NumLinks(ctx, &last) == 0) {
    return xla::ConstantR0<int32_t>(ctx->builder(), 0);
  }
  if (last.valid()) return last;
  return ctx->builder()->ReportError(absl::UnimplementedError(absl::StrCat(
      ctx->op_kernel_context()->op_kernel().type_string(),
      " comes after a conditional or loop that calls the embedding engine, "
      "too, "
      "but has no result by which a compiled program could wait for it: return "
      "a tensor of static shape from it, if only a constant")));
}

absl::Status ContinueSequence(XlaOpKernelContext* ctx, xla::XlaOp sequence) {
  xla::XlaOp last;
  return ctx->compiler()->SetNodeToken(LinkName(NumLinks(ctx, &last)),
                                       sequence);
}

absl::Status BreakSequence(XlaOpKernelContext* ctx) {
  return ContinueSequence(ctx, xla::XlaOp());
}

absl::Status WaitInSequence(XlaOpKernelContext* ctx,
                            const std::vector<xla::XlaOp>& values) {
  std::vector<xla::XlaOp> operands = values;
  operands.push_back(EndOfSequence(ctx));
  return ContinueSequence(
      ctx, xla::CustomCall(ctx->builder(), EngineCall::kWait, operands,
                           xla::ShapeUtil::MakeShape(xla::S32, {}),
                           /*opaque=*/"", /*has_side_effect=*/true,
                           /*output_operand_aliasing=*/{}, /*literal=*/nullptr,
                           xla::CustomCallSchedule::SCHEDULE_NONE,
                           xla::CustomCallApiVersion::API_VERSION_TYPED_FFI));
}

absl::StatusOr<xla::XlaOp> InSequence(XlaOpKernelContext* ctx,
                                      xla::XlaOp value) {
  const absl::Status status = WaitInSequence(ctx, {});
  if (!status.ok()) return status;
  // Calls give 0, but the compiler can't know it.
  const xla::XlaOp sequence = EndOfSequence(ctx);
  return xla::Select(xla::Eq(sequence, xla::ScalarLike(sequence, 0)), value,
                     xla::ZerosLike(value));
}

}  // namespace tf_embed
