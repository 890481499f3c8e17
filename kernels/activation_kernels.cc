// RecvTPUEmbeddingActivations, SendTPUEmbeddingGradients and
// TPUEmbeddingActivations.

#include <memory>
#include <string>
#include <utility>

#include "kernels/config_attr.h"
#include "kernels/kernel_registration.h"
#include "kernels/op_attrs.h"
#include "kernels/op_cores.h"
#include "kernels/status_bridge.h"
#include "kernels/step_protocol.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_embed {
namespace {

using ::tensorflow::AsyncOpKernel;
using ::tensorflow::OpKernel;
using ::tensorflow::OpKernelConstruction;
using ::tensorflow::OpKernelContext;

class RecvTPUEmbeddingActivationsOp : public AsyncOpKernel {
 public:
  explicit RecvTPUEmbeddingActivationsOp(OpKernelConstruction* ctx)
      : AsyncOpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadRequiredConfig(ctx, &config_));
    OP_REQUIRES_OK(ctx,
                   ToAbsl(CheckOutputCount(*config_->config(), num_outputs())));
  }

  void ComputeAsync(OpKernelContext* ctx, DoneCallback done) override {
    const StatusOr<std::shared_ptr<Engine>> engine = config_->ActiveEngine();
    OP_REQUIRES_OK_ASYNC(ctx, ToAbsl(engine.status()), done);
    const StatusOr<CoreRange> cores = CoresOfOp(ctx, *config_->config());
    OP_REQUIRES_OK_ASYNC(ctx, ToAbsl(cores.status()), done);
    ReceiveBatches(
        ctx, *engine, *cores,
        [ctx, engine = *engine, cores = *cores,
         done](StatusOr<ReceivedBatches> batches) {
          OP_REQUIRES_OK_ASYNC(ctx, ToAbsl(batches.status()), done);
          OP_REQUIRES_OK_ASYNC(
              ctx, ToAbsl(LookupIntoOutputs(ctx, *engine, cores, *batches)),
              done);
          done();
        });
  }

 private:
  std::unique_ptr<ConfigAttr> config_;
};

class SendTPUEmbeddingGradientsOp : public OpKernel {
 public:
  explicit SendTPUEmbeddingGradientsOp(OpKernelConstruction* ctx)
      : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadRequiredConfig(ctx, &config_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("N", &num_gradients_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("NN", &num_learning_rates_));
  }

  void Compute(OpKernelContext* ctx) override {
    const StatusOr<std::shared_ptr<Engine>> engine = config_->ActiveEngine();
    OP_REQUIRES_OK(ctx, ToAbsl(engine.status()));
    const StatusOr<CoreRange> cores = CoresOfOp(ctx, *config_->config());
    OP_REQUIRES_OK(ctx, ToAbsl(cores.status()));
    OP_REQUIRES_OK(
        ctx, ToAbsl(SendGradients(ctx, **engine, *cores, num_gradients_,
                                  num_learning_rates_, /*batches=*/nullptr)));
  }

 private:
  std::unique_ptr<ConfigAttr> config_;
  int num_gradients_ = 0;
  int num_learning_rates_ = 0;
};

// The identity of the activations. (The op's documentation says "first input";
// its shape function and its gradient forward the second.)
class TPUEmbeddingActivationsOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    ctx->set_output(0, ctx->input(1));
  }

  bool IsExpensive() override { return false; }
};

const KernelTable kernels({
    {"RecvTPUEmbeddingActivations", Create<RecvTPUEmbeddingActivationsOp>},
    {"SendTPUEmbeddingGradients", Create<SendTPUEmbeddingGradientsOp>},
    {"TPUEmbeddingActivations", Create<TPUEmbeddingActivationsOp>},
});

}  // namespace
}  // namespace tf_embed
