#include "kernels/op_attrs.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/status_bridge.h"

namespace tf_embed {
namespace {

using ::tensorflow::OpKernelConstruction;
using ::tensorflow::OpKernelContext;
using ::tensorflow::Tensor;

using ConfigReader =
    StatusOr<std::unique_ptr<ConfigAttr>> (*)(const std::string&);

absl::Status ReadConfig(OpKernelConstruction* ctx, ConfigReader reader,
                        std::unique_ptr<ConfigAttr>* config) {
  std::string serialized;
  absl::Status status = ctx->GetAttr("config", &serialized);
  if (!status.ok()) return status;
  StatusOr<std::unique_ptr<ConfigAttr>> read = reader(serialized);
  if (!read.ok()) return ToAbsl(read.status());
  *config = *std::move(read);
  return absl::OkStatus();
}

absl::Status CheckScalar(const Tensor& tensor, const char* name) {
  if (tensor.dims() == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      name, " must be a scalar; got shape ", tensor.shape().DebugString()));
}

}  // namespace

absl::Status ReadRequiredConfig(OpKernelConstruction* ctx,
                                std::unique_ptr<ConfigAttr>* config) {
  return ReadConfig(ctx, ConfigAttr::Required, config);
}

absl::Status ReadOptionalConfig(OpKernelConstruction* ctx,
                                std::unique_ptr<ConfigAttr>* config) {
  return ReadConfig(ctx, ConfigAttr::Optional, config);
}

absl::Status ReadScalar(OpKernelContext* ctx, int index, const char* name,
                        std::string* value) {
  const Tensor& tensor = ctx->input(index);
  absl::Status status = CheckScalar(tensor, name);
  if (status.ok()) *value = tensor.scalar<tensorflow::tstring>()();
  return status;
}

absl::Status ReadScalar(OpKernelContext* ctx, int index, const char* name,
                        int* value) {
  const Tensor& tensor = ctx->input(index);
  absl::Status status = CheckScalar(tensor, name);
  if (status.ok()) *value = tensor.scalar<int>()();
  return status;
}

}  // namespace tf_embed
