#include "tf_embed/optimizers/optimizer.h"

#include <cmath>
#include <variant>

#include "tf_embed/optimizers/registry.h"

namespace tf_embed {
namespace {

Status CheckLimits(const char* what, const Limits& limits) {
  if (limits.lower <= limits.upper) return OkStatus();
  return InvalidArgument(what, " has lower ", limits.lower, " and upper ",
                         limits.upper, "; lower must not exceed upper");
}

Status CheckQuantization(const SimulatedQuantization& quantization) {
  if (quantization.num_buckets < 2) {
    return InvalidArgument("simulated_quantization has num_buckets ",
                           quantization.num_buckets, "; it must be at least 2");
  }
  if (!quantization.lower || !quantization.upper) {
    return InvalidArgument(
        "simulated_quantization must have both clipping limits");
  }
  if (!(*quantization.lower < *quantization.upper) ||
      !std::isfinite(*quantization.upper - *quantization.lower)) {
    return InvalidArgument(
        "simulated_quantization has lower ", *quantization.lower, " and upper ",
        *quantization.upper, "; lower must be below upper and both finite");
  }
  return OkStatus();
}

struct Maker {
  const OptimizerConfig& config;

  OptimizerOr operator()(std::monostate) const {
    return InvalidArgument("No optimization algorithm specified");
  }
  OptimizerOr operator()(const UserDefinedProgramParams&) const {
    return Unimplemented("UserDefinedProgram optimizers are not supported");
  }
  template <class Params>
  OptimizerOr operator()(const Params& params) const {
    return MakeOptimizer(config, params);
  }
};

}  // namespace

OptimizerOr Optimizer::Create(const OptimizerConfig& config) {
  TF_EMBED_RETURN_IF_ERROR(
      CheckLimits("clipping_limits", config.clipping_limits));
  TF_EMBED_RETURN_IF_ERROR(
      CheckLimits("gradient_clipping_limits", config.gradient_clipping_limits));
  if (config.simulated_quantization) {
    TF_EMBED_RETURN_IF_ERROR(CheckQuantization(*config.simulated_quantization));
  }
  return std::visit(Maker{config}, config.params);
}

}  // namespace tf_embed
