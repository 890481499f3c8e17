// RecvTPUEmbeddingActivations, SendTPUEmbeddingGradients and
// TPUEmbeddingActivations in compiled programs.

#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "xla/engine_calls.h"
#include "xla/engine_op_lowering.h"
#include "xla/lowering_registration.h"

namespace tf_embed {
namespace {

using ::tensorflow::XlaOpKernel;
using ::tensorflow::XlaOpKernelContext;

constexpr EngineOp kRecv = {EngineCall::kActivations, /*gradients=*/nullptr,
                            /*takes_data=*/false, EngineOp::kActivations};
constexpr EngineOp kSend = {EngineCall::kSend, /*gradients=*/"inputs",
                            /*takes_data=*/false, EngineOp::kNothing};

// The identity of the activations, on every device.
class TPUEmbeddingActivationsLowering : public XlaOpKernel {
 public:
  using XlaOpKernel::XlaOpKernel;

  void Compile(XlaOpKernelContext* ctx) override {
    ctx->SetOutput(0, ctx->Input(1));
  }
};

const LoweringTable lowerings({
    EngineOpEntry<kRecv>("RecvTPUEmbeddingActivations"),
    EngineOpEntry<kSend>("SendTPUEmbeddingGradients"),
    {"TPUEmbeddingActivations",
     CreateLowering<TPUEmbeddingActivationsLowering>},
});

}  // namespace
}  // namespace tf_embed
