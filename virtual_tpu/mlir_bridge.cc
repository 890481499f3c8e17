#include "virtual_tpu/mlir_bridge.h"

#include <memory>
#include <string>
#include <vector>

#include "tensorflow/core/common_runtime/function_optimization_registry.h"

namespace tf_embed::virtual_tpu {
namespace {

class NoPass : public tensorflow::FunctionOptimizationPass {
 public:
  absl::Status Run(const std::string&, const tensorflow::DeviceSet&,
                   const tensorflow::ConfigProto&, const FunctionOptions&,
                   std::unique_ptr<tensorflow::Graph>*,
                   tensorflow::FunctionLibraryDefinition*,
                   std::vector<std::string>*, bool*) override {
    return absl::OkStatus();
  }
};

}  // namespace

void SwitchOffMlirBridge() {
  // The registry holds one pass; the later one counts.
  tensorflow::FunctionOptimizationPassRegistry::Global().Init(
      std::make_unique<NoPass>());
}

}  // namespace tf_embed::virtual_tpu
