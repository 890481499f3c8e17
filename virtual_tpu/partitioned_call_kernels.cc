// TPUPartitionedCall: a function with a TPU computation in it, on a core that
// is chosen when it is called. Models exported for inference on TPUs hold it.

#include "virtual_tpu/partitioned_call_kernels.h"

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/kernel_registration.h"
#include "tensorflow/core/framework/function.h"
#include "tensorflow/core/framework/node_def_util.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "virtual_tpu/attributes.h"
#include "virtual_tpu/function_runs.h"
#include "virtual_tpu/options.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::AsyncOpKernel;
using tensorflow::AttrSlice;
using tensorflow::FunctionDef;
using tensorflow::FunctionLibraryDefinition;
using tensorflow::FunctionLibraryRuntime;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

// What the ops that choose a core return: "the call itself chooses".
constexpr int kCallChooses = -8193;

class OrdinalSelectorOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    Tensor* ordinal = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, {}, &ordinal));
    ordinal->scalar<int32_t>()() = kCallChooses;
  }
  bool IsExpensive() override { return false; }
};

// Copies a function and those it calls, with their TPU computations on `core`.
// Returns the name of the copy.
std::string CopyForCore(const std::string& name, int core,
                        const FunctionLibraryDefinition& from,
                        std::unordered_set<std::string>* copied,
                        FunctionLibraryDefinition* to, absl::Status* status) {
  const std::string copy_name = absl::StrCat(name, "_tf_embed_core_", core);
  const FunctionDef* original = from.Find(name);
  if (original == nullptr) {
    *status = absl::NotFoundError(
        absl::StrCat("function ", name, " is not in the library"));
  }
  if (!status->ok() || !copied->insert(name).second) return copy_name;
  FunctionDef copy = *original;
  copy.mutable_signature()->set_name(copy_name);
  const auto redirect = [&](tensorflow::NameAttrList* function) {
    function->set_name(
        CopyForCore(function->name(), core, from, copied, to, status));
  };
  for (tensorflow::NodeDef& node : *copy.mutable_node_def()) {
    if (node.op() == "TPUReplicateMetadata") {
      (*node.mutable_attr())[kFirstCoreAttr].set_i(core);
    }
    for (auto& [attr_name, attr] : *node.mutable_attr()) {
      if (attr.has_func()) redirect(attr.mutable_func());
      if (!attr.has_list()) continue;
      for (auto& function : *attr.mutable_list()->mutable_func()) {
        redirect(&function);
      }
    }
  }
  if (status->ok()) *status = to->AddFunctionDef(copy);
  return copy_name;
}

class TPUPartitionedCallOp : public AsyncOpKernel {
 public:
  explicit TPUPartitionedCallOp(OpKernelConstruction* ctx)
      : AsyncOpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("f", &function_));
  }

  void ComputeAsync(OpKernelContext* ctx, DoneCallback done) override {
    FunctionLibraryRuntime* runtime = ctx->function_library();
    int core = 0;
    OP_REQUIRES_OK_ASYNC(ctx, ChooseCore(ctx, &core), done);
    tensorflow::OpInputList arguments;
    OP_REQUIRES_OK_ASYNC(ctx, ctx->input_list("args", &arguments), done);
    const std::vector<Tensor> args(arguments.begin(), arguments.end());
    FunctionLibraryRuntime::Handle handle;
    OP_REQUIRES_OK_ASYNC(ctx, Instantiate(runtime, core, args, &handle), done);

    RunFunction(ctx, handle, args, std::move(done));
  }

 private:
  absl::Status ChooseCore(OpKernelContext* ctx, int* core) {
    const Tensor* ordinal = nullptr;
    TF_RETURN_IF_ERROR(ctx->input("device_ordinal", &ordinal));
    if (ordinal->NumElements() != 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(name(), ": device_ordinal has shape ",
                       ordinal->shape().DebugString(), ", must be a scalar"));
    }
    *core = ordinal->flat<int32_t>()(0);
    if (*core == kCallChooses) {
      static std::atomic<uint32_t> calls{0};
      *core = static_cast<int>(calls++ % NumCores());
    }
    if (*core < 0 || *core >= NumCores()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name(), ": device_ordinal is ", *core,
                       ", must be from 0 to ", NumCores() - 1));
    }
    return absl::OkStatus();
  }

  absl::Status Instantiate(FunctionLibraryRuntime* runtime, int core,
                           const std::vector<Tensor>& args,
                           FunctionLibraryRuntime::Handle* handle) {
    std::lock_guard<std::mutex> lock(mu_);
    const auto key = std::make_pair(runtime, core);
    if (auto it = handles_.find(key); it != handles_.end()) {
      *handle = it->second;
      return absl::OkStatus();
    }
    const FunctionLibraryDefinition& library =
        *runtime->GetFunctionLibraryDefinition();
    auto copies = std::make_unique<FunctionLibraryDefinition>(library);
    std::unordered_set<std::string> copied;
    absl::Status status;
    const std::string copy = CopyForCore(function_.name(), core, library,
                                         &copied, copies.get(), &status);
    TF_RETURN_IF_ERROR(status);

    TF_RETURN_IF_ERROR(InstantiateFunction(*this, runtime, copy,
                                           AttrSlice(&function_.attr()), args,
                                           copies.get(), handle));
    libraries_.push_back(std::move(copies));
    handles_.emplace(key, *handle);
    return absl::OkStatus();
  }

  tensorflow::NameAttrList function_;
  std::mutex mu_;
  std::map<std::pair<FunctionLibraryRuntime*, int>,
           FunctionLibraryRuntime::Handle>
      handles_;
  // The instances look their functions up as long as they live.
  std::vector<std::unique_ptr<FunctionLibraryDefinition>> libraries_;
};

}  // namespace

void RegisterPartitionedCallKernels() {
  RegisterMissingKernels(tensorflow::DEVICE_CPU,
                         {{"TPUPartitionedCall", Create<TPUPartitionedCallOp>},
                          {"TPUOrdinalSelector", Create<OrdinalSelectorOp>},
                          {"TPURoundRobin", Create<OrdinalSelectorOp>}});
}

}  // namespace tf_embed::virtual_tpu
