#include "virtual_tpu/function_copies.h"

#include "absl/strings/str_cat.h"

namespace tf_embed::virtual_tpu {

absl::Status FunctionCopies::Find(
    const std::string& name, const tensorflow::FunctionDef** function) const {
  *function = library_->Find(name);
  if (*function != nullptr) return absl::OkStatus();
  return absl::NotFoundError(
      absl::StrCat("function ", name, " is not in the library"));
}

absl::Status FunctionCopies::Add(const tensorflow::FunctionDef& copy,
                                 const std::string& original) {
  const tensorflow::StackTracesMap* found = library_->GetStackTraces(original);
  const tensorflow::StackTracesMap traces =
      found != nullptr ? *found : tensorflow::StackTracesMap();
  TF_RETURN_IF_ERROR(library_->AddFunctionDef(copy, traces));
  // A session's graph has a library of its own, on top of another.
  const tensorflow::OpRegistrationData* known = nullptr;
  if (graph_->op_registry()->LookUp(copy.signature().name(), &known).ok()) {
    return absl::OkStatus();
  }
  return graph_->mutable_flib_def()->AddFunctionDef(copy, traces);
}

}  // namespace tf_embed::virtual_tpu
