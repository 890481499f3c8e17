#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/framework/tensor_util.h"
#include "virtual_tpu/device_names.h"
#include "virtual_tpu/private_variables.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelContext;
using tensorflow::ResourceHandle;
using tensorflow::Tensor;
using tensorflow::Var;
using tensorflow::core::RefCountPtr;

// Stateful: each replica has its own, so no two may be merged.
REGISTER_OP(kPrivateVariableOp)
    .Input("shared: resource")
    .Output("own: resource")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) {
      c->set_output(0, c->input(0));
      const auto* values = c->input_handle_shapes_and_types(0);
      if (values != nullptr) c->set_output_handle_shapes_and_types(0, *values);
      return absl::OkStatus();
    });

class PrivateVariableOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    const ResourceHandle& handle = tensorflow::HandleFromInput(ctx, 0);
    if (!handle.ValidateType<Var>().ok()) {
      ctx->set_output(0, ctx->input(0));
      return;
    }
    // Ends with the step. (A handle that counts its holders would be simpler,
    // but AssignVariableOp does not take one.)
    tensorflow::ScopedStepContainer* step = ctx->step_container();
    ResourceHandle own_handle =
        step->MakeResourceHandle<Var>(name(), *ctx->device());
    own_handle.set_dtypes_and_shapes(handle.dtypes_and_shapes());
    // Where there is none, the first value is one that the computation assigns.
    RefCountPtr<Var> shared;
    if (tensorflow::LookupResource(ctx, handle, &shared).ok()) {
      Var* own = nullptr;
      OP_REQUIRES_OK(
          ctx, step->LookupOrCreate<Var>(
                   ctx->resource_manager(), name(), &own, [&shared](Var** var) {
                     *var = new Var(shared->tensor()->dtype());
                     return absl::OkStatus();
                   }));
      tensorflow::core::ScopedUnref unref(own);
      Copy(shared.get(), own);
    }
    Tensor* output = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, {}, &output));
    output->scalar<ResourceHandle>()() = own_handle;
  }

 private:
  static void Copy(Var* from, Var* to) {
    tensorflow::tf_shared_lock from_lock(*from->mu());
    tensorflow::mutex_lock to_lock(*to->mu());
    // Whoever writes first copies, unless that is how readers get theirs.
    *to->tensor() = from->copy_on_read_mode
                        ? tensorflow::tensor::DeepCopy(*from->tensor())
                        : *from->tensor();
    to->copy_on_read_mode = false;
    to->is_initialized = from->is_initialized;
  }
};
REGISTER_KERNEL_BUILDER(Name(kPrivateVariableOp).Device(kTpuType),
                        PrivateVariableOp);
REGISTER_KERNEL_BUILDER(Name(kPrivateVariableOp).Device(tensorflow::DEVICE_CPU),
                        PrivateVariableOp);

}  // namespace
}  // namespace tf_embed::virtual_tpu
