// The Xla forms of Recv and Send in compiled programs: one op receives a batch,
// and the deduplication data that it puts out say for which batch others look
// up and send. Here the data are a ticket, s64[].

#include <memory>
#include <utility>
#include <vector>

#include "kernels/status_bridge.h"
#include "kernels/step_protocol.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "xla/engine_call_builder.h"
#include "xla/engine_calls.h"
#include "xla/lowering_registration.h"
#include "xla/shape_util.h"

namespace tf_embed {
namespace {

using ::tensorflow::OpKernelConstruction;
using ::tensorflow::TensorShape;
using ::tensorflow::XlaOpKernel;
using ::tensorflow::XlaOpKernelContext;

class XlaRecvDeduplicationDataLowering : public XlaOpKernel {
 public:
  explicit XlaRecvDeduplicationDataLowering(OpKernelConstruction* ctx)
      : XlaOpKernel(ctx) {
    OP_REQUIRES_VALUE(calls_, ctx, EngineCallBuilder::Create(ctx));
  }

  void Compile(XlaOpKernelContext* ctx) override {
    OP_REQUIRES_VALUE(std::vector<xla::XlaOp> ticket, ctx,
                      calls_->Call(ctx, EngineCall::kReceive, {},
                                   {xla::ShapeUtil::MakeShape(xla::S64, {})}));
    ctx->SetOutput(0, ticket[0]);
  }

 private:
  std::unique_ptr<EngineCallBuilder> calls_;
};

class XlaRecvActivationsLowering : public XlaOpKernel {
 public:
  explicit XlaRecvActivationsLowering(OpKernelConstruction* ctx)
      : XlaOpKernel(ctx) {
    OP_REQUIRES_VALUE(calls_, ctx, EngineCallBuilder::Create(ctx));
    OP_REQUIRES_OK(ctx,
                   ToAbsl(CheckOutputCount(calls_->config(), num_outputs())));
  }

  void Compile(XlaOpKernelContext* ctx) override {
    OP_REQUIRES_VALUE(std::vector<xla::Shape> shapes, ctx,
                      calls_->ActivationShapes());
    OP_REQUIRES_VALUE(std::vector<xla::XlaOp> activations, ctx,
                      calls_->Call(ctx, EngineCall::kLookUp, {ctx->Input(0)},
                                   std::move(shapes)));
    for (int f = 0; f < num_outputs(); ++f) ctx->SetOutput(f, activations[f]);
  }

 private:
  std::unique_ptr<EngineCallBuilder> calls_;
};

class XlaSendGradientsLowering : public XlaOpKernel {
 public:
  explicit XlaSendGradientsLowering(OpKernelConstruction* ctx)
      : XlaOpKernel(ctx) {
    OP_REQUIRES_VALUE(calls_, ctx, EngineCallBuilder::Create(ctx));
  }

  void Compile(XlaOpKernelContext* ctx) override {
    std::vector<xla::XlaOp> operands;
    std::vector<xla::XlaOp> learning_rates;
    std::vector<TensorShape> gradient_shapes;
    std::vector<TensorShape> rate_shapes;
    OP_REQUIRES_OK(ctx,
                   ctx->InputList("gradients", &operands, &gradient_shapes));
    OP_REQUIRES_OK(
        ctx, ctx->InputList("learning_rates", &learning_rates, &rate_shapes));
    OP_REQUIRES_OK(
        ctx, ToAbsl(CheckSendShapes(calls_->config(), calls_->cores().count,
                                    gradient_shapes, rate_shapes)));
    operands.insert(operands.end(), learning_rates.begin(),
                    learning_rates.end());
    operands.push_back(ctx->Input("deduplication_data"));
    OP_REQUIRES_OK(
        ctx, calls_->Call(ctx, EngineCall::kSendBatch, std::move(operands), {})
                 .status());
  }

 private:
  std::unique_ptr<EngineCallBuilder> calls_;
};

const LoweringTable lowerings({
    {"XlaRecvTPUEmbeddingDeduplicationData",
     CreateLowering<XlaRecvDeduplicationDataLowering>},
    {"XlaRecvTPUEmbeddingDeduplicationDataV2",
     CreateLowering<XlaRecvDeduplicationDataLowering>},
    {"XlaRecvTPUEmbeddingActivations",
     CreateLowering<XlaRecvActivationsLowering>},
    {"XlaRecvTPUEmbeddingActivationsV2",
     CreateLowering<XlaRecvActivationsLowering>},
    {"XlaSendTPUEmbeddingGradients", CreateLowering<XlaSendGradientsLowering>},
    {"XlaSendTPUEmbeddingGradientsV2",
     CreateLowering<XlaSendGradientsLowering>},
});

}  // namespace
}  // namespace tf_embed
