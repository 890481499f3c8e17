#include "virtual_tpu/eager_functions.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "tensorflow/core/common_runtime/eager/eager_op_rewrite_registry.h"
#include "tensorflow/core/common_runtime/eager/eager_operation.h"
#include "virtual_tpu/device_names.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::EagerOperation;
using tensorflow::EagerOpRewrite;
using tensorflow::EagerOpRewriteRegistry;

// Whether an output is a shape, which TensorFlow wants in the host's memory and
// yet, like all that a TPU's ops return, on the TPU: an Internal error.
bool ReturnsShape(const EagerOperation& op) {
  const tensorflow::OpDef* def = op.OpDef();
  if (def == nullptr) return false;
  for (const auto& output : def->output_arg()) {
    if (output.experimental_full_type().type_id() ==
        tensorflow::TFT_SHAPE_TENSOR) {
      return true;
    }
  }
  return false;
}

class NoXlaOnCores : public EagerOpRewrite {
 public:
  NoXlaOnCores()
      : EagerOpRewrite("NoXlaOnCores", __FILE__, absl::StrCat(__LINE__)) {}

  // Changes the call in place, which leaves `out` empty.
  absl::Status Run(EagerOperation* op,
                   std::unique_ptr<EagerOperation>* out) override {
    if (op->GetDeviceParsedName().type != kTpuType) return absl::OkStatus();
    if (op->is_function()) {
      op->MutableAttrs()->Set("_XlaMustCompile", false);
      return absl::OkStatus();
    }
    return ReturnsShape(*op) ? op->SetDeviceName(kHostDevice)
                             : absl::OkStatus();
  }
};

}  // namespace

void RunEagerFunctionsWithoutXla() {
  EagerOpRewriteRegistry::Global()->Register(
      EagerOpRewriteRegistry::PRE_EXECUTION, /*ordinal=*/10,
      std::make_unique<NoXlaOnCores>());
}

}  // namespace tf_embed::virtual_tpu
