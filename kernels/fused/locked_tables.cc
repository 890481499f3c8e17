#include "kernels/fused/locked_tables.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "kernels/status_bridge.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/resource_mgr.h"

namespace tf_embed {
namespace {

using ::tensorflow::DataType;
using ::tensorflow::OpKernelContext;
using ::tensorflow::ResourceHandle;
using ::tensorflow::Tensor;
using ::tensorflow::Var;

absl::Status CheckTable(const Tensor& tensor, DataType type,
                        const std::string& name) {
  if (tensor.dtype() != type || tensor.dims() != 2) {
    // As Python spells it.
    const std::string wanted = type == tensorflow::DT_FLOAT
                                   ? "float32"
                                   : tensorflow::DataTypeString(type);
    return ToAbsl(InvalidArgument("table ", name, " must be a ", wanted,
                                  " matrix, not ",
                                  tensorflow::DataTypeString(tensor.dtype()),
                                  " of shape ", tensor.shape().DebugString()));
  }
  return absl::OkStatus();
}

// What a later in-place write relies on: readers copy from now on, and nobody
// still holds the memory from before (as in TensorFlow's scatter ops).
absl::Status BecomeSoleOwner(OpKernelContext* ctx, Var* variable) {
  if (variable->copy_on_read_mode.load()) return absl::OkStatus();
  Tensor* tensor = variable->tensor();
  if (!tensor->RefCountIsOne()) {
    Tensor copy;
    TF_RETURN_IF_ERROR(
        ctx->allocate_temp(tensor->dtype(), tensor->shape(), &copy));
    std::memcpy(copy.data(), tensor->data(), tensor->TotalBytes());
    *tensor = copy;
  }
  variable->copy_on_read_mode.store(true);
  return absl::OkStatus();
}

}  // namespace

LockedTables::~LockedTables() {
  for (Var* variable : locked_) {
    if (mode_ == Mode::kRead) {
      variable->mu()->unlock_shared();
    } else {
      variable->mu()->unlock();
    }
  }
}

absl::Status LockedTables::Lock(OpKernelContext* ctx, int first, int count,
                                Span<const DataType> types) {
  const auto type_of = [&](int i) {
    return types.empty() ? tensorflow::DT_FLOAT : types[i];
  };
  variables_.resize(count);
  tensors_.resize(count);
  std::vector<Var*> to_lock;
  for (int i = 0; i < count; ++i) {
    const Tensor& input = ctx->input(first + i);
    if (input.dtype() != tensorflow::DT_RESOURCE) {
      TF_RETURN_IF_ERROR(CheckTable(input, type_of(i), std::to_string(i)));
      tensors_[i] = const_cast<Tensor*>(&input);
      continue;
    }
    const ResourceHandle& handle = input.scalar<ResourceHandle>()();
    TF_RETURN_IF_ERROR(tensorflow::LookupResource(ctx, handle, &variables_[i]));
    to_lock.push_back(variables_[i].get());
  }
  // Everybody who takes several locks takes them in this order, so that two
  // calls cannot wait for each other.
  std::sort(to_lock.begin(), to_lock.end(), std::less<Var*>());
  const auto end = std::unique(to_lock.begin(), to_lock.end());
  if (end != to_lock.end() && mode_ == Mode::kWrite) {
    return ToAbsl(InvalidArgument("a variable is given twice"));
  }
  to_lock.erase(end, to_lock.end());
  for (Var* variable : to_lock) {
    if (mode_ == Mode::kRead) {
      variable->mu()->lock_shared();
    } else {
      variable->mu()->lock();
    }
    locked_.push_back(variable);
  }
  for (int i = 0; i < count; ++i) {
    if (variables_[i] == nullptr) continue;
    Var* variable = variables_[i].get();
    const std::string name = "'" + variable->DebugString() + "'";
    if (!variable->tensor()->IsInitialized()) {
      return ToAbsl(FailedPrecondition(
          "Error while reading resource variable ",
          ctx->input(first + i).scalar<ResourceHandle>()().name(),
          ": it was not initialized"));
    }
    TF_RETURN_IF_ERROR(CheckTable(*variable->tensor(), type_of(i), name));
    if (mode_ == Mode::kWrite) {
      TF_RETURN_IF_ERROR(BecomeSoleOwner(ctx, variable));
    }
    tensors_[i] = variable->tensor();
  }
  return absl::OkStatus();
}

}  // namespace tf_embed
