#ifndef TF_EMBED_VIRTUAL_TPU_FUNCTION_RUNS_H_
#define TF_EMBED_VIRTUAL_TPU_FUNCTION_RUNS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tensorflow/core/framework/function.h"
#include "tensorflow/core/framework/op_kernel.h"

// Functions that kernels run, with nodes on any device.

namespace tf_embed::virtual_tpu {

// Results go to the kernel's outputs. `library`, if any, has to outlive the
// handle.
absl::Status InstantiateFunction(
    const tensorflow::OpKernel& kernel,
    tensorflow::FunctionLibraryRuntime* runtime, const std::string& name,
    tensorflow::AttrSlice attrs, const std::vector<tensorflow::Tensor>& args,
    const tensorflow::FunctionLibraryDefinition* library,
    tensorflow::FunctionLibraryRuntime::Handle* handle);

// In a step of its own, which ends with the context's when that is cancelled.
void RunFunction(tensorflow::OpKernelContext* ctx,
                 tensorflow::FunctionLibraryRuntime::Handle handle,
                 const std::vector<tensorflow::Tensor>& args,
                 tensorflow::AsyncOpKernel::DoneCallback done);

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_FUNCTION_RUNS_H_
