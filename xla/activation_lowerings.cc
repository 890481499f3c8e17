// RecvTPUEmbeddingActivations, SendTPUEmbeddingGradients and
// TPUEmbeddingActivations in compiled programs.

#include <memory>
#include <utility>
#include <vector>

#include "kernels/status_bridge.h"
#include "kernels/step_protocol.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "xla/engine_call_builder.h"
#include "xla/engine_calls.h"
#include "xla/lowering_registration.h"

namespace tf_embed {
namespace {

using ::tensorflow::OpKernelConstruction;
using ::tensorflow::TensorShape;
using ::tensorflow::XlaOpKernel;
using ::tensorflow::XlaOpKernelContext;

class RecvTPUEmbeddingActivationsLowering : public XlaOpKernel {
 public:
  explicit RecvTPUEmbeddingActivationsLowering(OpKernelConstruction* ctx)
      : XlaOpKernel(ctx) {
    OP_REQUIRES_VALUE(calls_, ctx, EngineCallBuilder::Create(ctx));
    OP_REQUIRES_OK(ctx,
                   ToAbsl(CheckOutputCount(calls_->config(), num_outputs())));
  }

  void Compile(XlaOpKernelContext* ctx) override {
    OP_REQUIRES_VALUE(std::vector<xla::Shape> shapes, ctx,
                      calls_->ActivationShapes());
    OP_REQUIRES_VALUE(
        std::vector<xla::XlaOp> activations, ctx,
        calls_->Call(ctx, EngineCall::kActivations, {}, std::move(shapes)));
    for (int f = 0; f < num_outputs(); ++f) ctx->SetOutput(f, activations[f]);
  }

 private:
  std::unique_ptr<EngineCallBuilder> calls_;
};

class SendTPUEmbeddingGradientsLowering : public XlaOpKernel {
 public:
  explicit SendTPUEmbeddingGradientsLowering(OpKernelConstruction* ctx)
      : XlaOpKernel(ctx) {
    OP_REQUIRES_VALUE(calls_, ctx, EngineCallBuilder::Create(ctx));
  }

  void Compile(XlaOpKernelContext* ctx) override {
    std::vector<xla::XlaOp> operands;
    std::vector<xla::XlaOp> learning_rates;
    std::vector<TensorShape> gradient_shapes;
    std::vector<TensorShape> rate_shapes;
    OP_REQUIRES_OK(ctx, ctx->InputList("inputs", &operands, &gradient_shapes));
    OP_REQUIRES_OK(
        ctx, ctx->InputList("learning_rates", &learning_rates, &rate_shapes));
    OP_REQUIRES_OK(
        ctx, ToAbsl(CheckSendShapes(calls_->config(), calls_->cores().count,
                                    gradient_shapes, rate_shapes)));
    operands.insert(operands.end(), learning_rates.begin(),
                    learning_rates.end());
    OP_REQUIRES_OK(
        ctx,
        calls_->Call(ctx, EngineCall::kSend, std::move(operands), {}).status());
  }

 private:
  std::unique_ptr<EngineCallBuilder> calls_;
};

// The identity of the activations, on every device.
class TPUEmbeddingActivationsLowering : public XlaOpKernel {
 public:
  using XlaOpKernel::XlaOpKernel;

  void Compile(XlaOpKernelContext* ctx) override {
    ctx->SetOutput(0, ctx->Input(1));
  }
};

const LoweringTable lowerings({
    {"RecvTPUEmbeddingActivations",
     CreateLowering<RecvTPUEmbeddingActivationsLowering>},
    {"SendTPUEmbeddingGradients",
     CreateLowering<SendTPUEmbeddingGradientsLowering>},
    {"TPUEmbeddingActivations",
     CreateLowering<TPUEmbeddingActivationsLowering>},
});

}  // namespace
}  // namespace tf_embed
