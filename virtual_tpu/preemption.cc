#include "virtual_tpu/preemption.h"

#include "absl/status/status.h"
#include "kernels/kernel_registration.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_def_builder.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::OpDefBuilder;
using tensorflow::OpKernel;
using tensorflow::OpKernelContext;
using tensorflow::OpRegistrationData;
using tensorflow::OpRegistry;

constexpr char kCheckPreemption[] = "CheckPreemption";

// Nobody takes a virtual TPU away. Notices to other tasks would arrive through
// the coordination service.
class CheckPreemptionOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    OP_REQUIRES(ctx, ctx->coordination_service_agent() == nullptr,
                absl::UnimplementedError(
                    "CheckPreemption on the virtual TPU does not ask the "
                    "coordination service, which is enabled"));
  }
};

}  // namespace

void RegisterCheckPreemption() {
  OpRegistry* registry = OpRegistry::Global();
  if (registry->LookUp(kCheckPreemption) != nullptr) return;
  registry->Register([](OpRegistrationData* data) {
    return OpDefBuilder(kCheckPreemption)
        .Attr("preemption_key: string = 'TF_DEFAULT_PREEMPTION_NOTICE_KEY'")
        .SetIsStateful()
        .Finalize(data);
  });
  RegisterMissingKernels(tensorflow::DEVICE_CPU,
                         {{kCheckPreemption, &Create<CheckPreemptionOp>}});
}

}  // namespace tf_embed::virtual_tpu
