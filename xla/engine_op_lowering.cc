#include "xla/engine_op_lowering.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/status_bridge.h"
#include "kernels/step_protocol.h"
#include "tensorflow/compiler/tf2xla/xla_compiler.h"
#include "xla/lowering_target.h"
#include "xla/shape_util.h"

namespace tf_embed {
namespace {

using ::tensorflow::OpKernelConstruction;
using ::tensorflow::TensorShape;
using ::tensorflow::XlaOpKernelContext;

// Where a plain Recv leaves the deduplication data for the plain Send of the
// same computation. They are kept among its side-effect tokens.
constexpr char kDataOfPlainRecv[] = "tf_embed/deduplication_data";

absl::StatusOr<std::vector<xla::Shape>> ShapesOf(
    const std::vector<xla::XlaOp>& ops) {
  std::vector<xla::Shape> shapes;
  for (const xla::XlaOp op : ops) {
    absl::StatusOr<xla::Shape> shape = op.builder()->GetShape(op);
    if (!shape.ok()) return shape.status();
    shapes.push_back(*std::move(shape));
  }
  return shapes;
}

}  // namespace

EngineOpLowering::EngineOpLowering(OpKernelConstruction* ctx,
                                   const EngineOp& op)
    : XlaOpKernel(ctx), op_(op) {
  OP_REQUIRES_VALUE(calls_, ctx, EngineCallBuilder::Create(ctx));
  OP_REQUIRES_VALUE(libtpu_, ctx, LibtpuComputations::Create(ctx));
  if (op.output == EngineOp::kActivations) {
    OP_REQUIRES_OK(ctx,
                   ToAbsl(CheckOutputCount(calls_->config(), num_outputs())));
  }
}

void EngineOpLowering::Compile(XlaOpKernelContext* ctx) {
  OP_REQUIRES_VALUE(const LoweringTarget target, ctx, FindEngine(ctx));
  OP_REQUIRES_VALUE(Inputs inputs, ctx, ReadInputs(ctx));
  OP_REQUIRES_VALUE(const std::vector<xla::XlaOp> outputs, ctx,
                    target == LoweringTarget::kTpu
                        ? CallLibtpu(ctx, std::move(inputs))
                        : CallEngine(ctx, inputs));
  for (int i = 0; i < num_outputs(); ++i) ctx->SetOutput(i, outputs[i]);
}

absl::StatusOr<EngineOpLowering::Inputs> EngineOpLowering::ReadInputs(
    XlaOpKernelContext* ctx) const {
  Inputs inputs;
  if (op_.gradients != nullptr) {
    std::vector<TensorShape> gradient_shapes;
    std::vector<TensorShape> rate_shapes;
    absl::Status status =
        ctx->InputList(op_.gradients, &inputs.gradients, &gradient_shapes);
    if (status.ok()) {
      status = ctx->InputList("learning_rates", &inputs.learning_rates,
                              &rate_shapes);
    }
    if (status.ok()) {
      status = ToAbsl(CheckSendShapes(calls_->config(), calls_->cores().count,
                                      gradient_shapes, rate_shapes));
    }
    if (!status.ok()) return status;
  }
  if (op_.takes_data) inputs.data = ctx->Input("deduplication_data");
  return inputs;
}

absl::StatusOr<std::vector<xla::XlaOp>> EngineOpLowering::CallEngine(
    XlaOpKernelContext* ctx, const Inputs& inputs) const {
  std::vector<xla::XlaOp> operands = inputs.gradients;
  operands.insert(operands.end(), inputs.learning_rates.begin(),
                  inputs.learning_rates.end());
  if (inputs.data.has_value()) operands.push_back(*inputs.data);
  std::vector<xla::Shape> results;
  if (op_.output == EngineOp::kData) {
    results = {xla::ShapeUtil::MakeShape(xla::S64, {})};
  } else if (op_.output == EngineOp::kActivations) {
    absl::StatusOr<std::vector<xla::Shape>> shapes = calls_->ActivationShapes();
    if (!shapes.ok()) return shapes.status();
    results = *std::move(shapes);
  }
  return calls_->Call(ctx, op_.call, std::move(operands), std::move(results));
}

absl::StatusOr<std::vector<xla::XlaOp>> EngineOpLowering::CallLibtpu(
    XlaOpKernelContext* ctx, Inputs inputs) const {
  xla::XlaBuilder* builder = ctx->builder();
  const LibtpuComputations::Sharding& sharding = builder->sharding();
  if (!op_.takes_data && op_.gradients != nullptr) {
    const absl::StatusOr<xla::XlaOp> data =
        ctx->compiler()->GetNodeToken(kDataOfPlainRecv);
    if (!data.ok()) {
      return absl::FailedPreconditionError(absl::StrCat(
          type_string(),
          " is compiled for a TPU in a computation without a "
          "RecvTPUEmbeddingActivations before it, whose batch the gradients "
          "would be for"));
    }
    inputs.data = *data;
  }
  if (op_.gradients == nullptr && !op_.takes_data) {
    const absl::StatusOr<xla::XlaComputation> computation =
        libtpu_->RecvDeduplicationData(sharding);
    if (!computation.ok()) return computation.status();
    inputs.data = xla::Call(builder, *computation, {});
    if (op_.output == EngineOp::kData) {
      return std::vector<xla::XlaOp>{*inputs.data};
    }
    if (!ctx->compiler()->SetNodeToken(kDataOfPlainRecv, *inputs.data).ok()) {
      return absl::UnimplementedError(absl::StrCat(
          type_string(),
          " is compiled for a TPU more than once in one "
          "computation; use XlaRecvTPUEmbeddingDeduplicationData and its "
          "companions, which say what belongs to which batch"));
    }
  }
  const absl::StatusOr<xla::Shape> data_shape = builder->GetShape(*inputs.data);
  if (!data_shape.ok()) return data_shape.status();
  if (op_.output == EngineOp::kActivations) {
    const absl::StatusOr<xla::XlaComputation> computation =
        libtpu_->RecvActivations(*data_shape, sharding);
    if (!computation.ok()) return computation.status();
    const xla::XlaOp tuple = xla::Call(builder, *computation, {*inputs.data});
    std::vector<xla::XlaOp> activations;
    for (int i = 0; i < num_outputs(); ++i) {
      activations.push_back(xla::GetTupleElement(tuple, i));
    }
    return activations;
  }
  const absl::StatusOr<std::vector<xla::Shape>> gradients =
      ShapesOf(inputs.gradients);
  if (!gradients.ok()) return gradients.status();
  const absl::StatusOr<std::vector<xla::Shape>> learning_rates =
      ShapesOf(inputs.learning_rates);
  if (!learning_rates.ok()) return learning_rates.status();
  const absl::StatusOr<xla::XlaComputation> computation =
      libtpu_->SendGradients(*gradients, *learning_rates, *data_shape,
                             sharding);
  if (!computation.ok()) return computation.status();
  xla::Call(builder, *computation,
            {xla::Tuple(builder, inputs.gradients),
             xla::Tuple(builder, inputs.learning_rates), *inputs.data});
  return std::vector<xla::XlaOp>{};
}

}  // namespace tf_embed
