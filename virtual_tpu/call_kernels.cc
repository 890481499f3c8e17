// Calls of functions that call themselves; see calls.h.

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/function.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/platform/hash.h"
#include "virtual_tpu/attributes.h"
#include "virtual_tpu/calls.h"
#include "virtual_tpu/device_names.h"
#include "virtual_tpu/function_runs.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::AsyncOpKernel;
using tensorflow::FunctionLibraryRuntime;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

class CallOp : public OpKernel {
 public:
  explicit CallOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr(kChannelAttr, &channel_));
  }

  void Compute(OpKernelContext* ctx) override {
    // The replicas share the step that the first call is made in.
    const int64_t caller = ctx->num_inputs() == 0
                               ? ctx->step_id()
                               : ctx->input(0).scalar<int64_t>()();
    Tensor* call = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, {}, &call));
    call->scalar<int64_t>()() = static_cast<int64_t>(tensorflow::Hash64(
        absl::StrCat(caller, ";", ctx->frame_iter().iter_id, ";", channel_)));
  }
  bool IsExpensive() override { return false; }

 private:
  std::string channel_;
};

class RecursiveCallOp : public AsyncOpKernel {
 public:
  explicit RecursiveCallOp(OpKernelConstruction* ctx) : AsyncOpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("f", &function_));
  }

  void ComputeAsync(OpKernelContext* ctx, DoneCallback done) override {
    tensorflow::OpInputList arguments;
    OP_REQUIRES_OK_ASYNC(ctx, ctx->input_list("args", &arguments), done);
    const std::vector<Tensor> args(arguments.begin(), arguments.end());
    FunctionLibraryRuntime::Handle handle;
    OP_REQUIRES_OK_ASYNC(
        ctx, Instantiate(ctx->function_library(), args, &handle), done);
    RunFunction(ctx, handle, args, std::move(done));
  }

 private:
  absl::Status Instantiate(FunctionLibraryRuntime* runtime,
                           const std::vector<Tensor>& args,
                           FunctionLibraryRuntime::Handle* handle) {
    std::lock_guard<std::mutex> lock(mu_);
    const auto it = handles_.find(runtime);
    if (it != handles_.end()) {
      *handle = it->second;
      return absl::OkStatus();
    }
    TF_RETURN_IF_ERROR(InstantiateFunction(
        *this, runtime, function_.name(),
        tensorflow::AttrSlice(&function_.attr()), args, nullptr, handle));
    handles_.emplace(runtime, *handle);
    return absl::OkStatus();
  }

  tensorflow::NameAttrList function_;
  std::mutex mu_;
  std::map<FunctionLibraryRuntime*, FunctionLibraryRuntime::Handle> handles_;
};

// For the CPU too: outside_compilation may hold a call.
REGISTER_KERNEL_BUILDER(Name(kRecursiveCallOp).Device(kTpuType),
                        RecursiveCallOp);
REGISTER_KERNEL_BUILDER(Name(kRecursiveCallOp).Device(tensorflow::DEVICE_CPU),
                        RecursiveCallOp);
REGISTER_KERNEL_BUILDER(Name(kFirstCallOp).Device(kTpuType), CallOp);
REGISTER_KERNEL_BUILDER(Name(kNextCallOp).Device(kTpuType), CallOp);
REGISTER_KERNEL_BUILDER(Name(kFirstCallOp).Device(tensorflow::DEVICE_CPU),
                        CallOp);
REGISTER_KERNEL_BUILDER(Name(kNextCallOp).Device(tensorflow::DEVICE_CPU),
                        CallOp);

}  // namespace
}  // namespace tf_embed::virtual_tpu
