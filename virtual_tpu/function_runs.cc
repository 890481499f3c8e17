#include "virtual_tpu/function_runs.h"

#include <memory>
#include <utility>

#include "tensorflow/core/framework/cancellation.h"
#include "tensorflow/core/framework/device.h"
#include "tensorflow/core/framework/resource_handle.h"
#include "tensorflow/core/framework/resource_mgr.h"

namespace tf_embed::virtual_tpu {

using tensorflow::FunctionLibraryRuntime;
using tensorflow::Tensor;

absl::Status InstantiateFunction(
    const tensorflow::OpKernel& kernel, FunctionLibraryRuntime* runtime,
    const std::string& name, tensorflow::AttrSlice attrs,
    const std::vector<Tensor>& args,
    const tensorflow::FunctionLibraryDefinition* library,
    FunctionLibraryRuntime::Handle* handle) {
  FunctionLibraryRuntime::InstantiateOptions options;
  options.target = runtime->device()->name();
  options.is_multi_device_function = true;
  options.lib_def = library;
  for (const Tensor& arg : args) {
    options.input_devices.push_back(
        arg.dtype() == tensorflow::DT_RESOURCE
            ? arg.flat<tensorflow::ResourceHandle>()(0).device()
            : options.target);
  }
  for (int i = 0; i < kernel.num_outputs(); ++i) {
    options.output_devices.push_back(
        kernel.output_type(i) == tensorflow::DT_RESOURCE ? "" : options.target);
  }
  return runtime->Instantiate(name, attrs, options, handle);
}

void RunFunction(tensorflow::OpKernelContext* ctx,
                 FunctionLibraryRuntime::Handle handle,
                 const std::vector<Tensor>& args,
                 tensorflow::AsyncOpKernel::DoneCallback done) {
  FunctionLibraryRuntime* runtime = ctx->function_library();
  FunctionLibraryRuntime::Options options;
  auto container = std::make_shared<tensorflow::ScopedStepContainer>(
      options.step_id, [runtime](const std::string& name) {
        runtime->device()->resource_manager()->Cleanup(name).IgnoreError();
      });
  options.step_container = container.get();
  // A child: what fails in the function cancels the function, and its caller
  // hears of the failure, not of a cancellation.
  auto* cancellation =
      new tensorflow::CancellationManager(ctx->cancellation_manager());
  options.cancellation_manager = cancellation;
  options.collective_executor = ctx->collective_executor();
  options.stats_collector = ctx->stats_collector();
  options.runner = ctx->runner();
  options.source_device = runtime->device()->name();
  auto results = std::make_shared<std::vector<Tensor>>();
  runtime->Run(options, handle, args, results.get(),
               [ctx, container, results, cancellation,
                done = std::move(done)](const absl::Status& status) {
                 delete cancellation;  // while its parent lives
                 if (!status.ok()) {
                   ctx->SetStatus(status);
                 } else {
                   for (size_t i = 0; i < results->size(); ++i) {
                     ctx->set_output(static_cast<int>(i), (*results)[i]);
                   }
                 }
                 done();
               });
}

}  // namespace tf_embed::virtual_tpu
