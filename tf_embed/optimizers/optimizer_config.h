#ifndef TF_EMBED_TF_EMBED_OPTIMIZERS_OPTIMIZER_CONFIG_H_
#define TF_EMBED_TF_EMBED_OPTIMIZERS_OPTIMIZER_CONFIG_H_

#include <limits>
#include <optional>
#include <variant>

namespace tf_embed {

// What a table's OptimizationParameters proto says, free of protobuf. Field
// names, order and meaning are the proto's; the formulas stand in the file of
// each optimizer.

struct LearningRate {
  bool dynamic = false;
  float constant = 0.0f;  // used unless dynamic
  int tag = 0;            // index into the learning rates of a Send, if dynamic
};

struct Limits {
  float lower = -std::numeric_limits<float>::infinity();
  float upper = std::numeric_limits<float>::infinity();

  bool limited() const {
    return lower != -std::numeric_limits<float>::infinity() ||
           upper != std::numeric_limits<float>::infinity();
  }
};

// Applied to looked-up rows only, never to what is stored.
struct SimulatedQuantization {
  int num_buckets = 0;
  std::optional<float> lower;
  std::optional<float> upper;
};

struct SgdParams {};
struct AdagradParams {};
struct AdagradMomentumParams {
  float momentum = 0;
  bool use_nesterov = false;
  float exponent = 0;
  float beta2 = 0;
  float epsilon = 0;
};
struct BoundedAdagradParams {
  bool update_accumulator_first = false;
  float max_var_update = 0;
  float max_accumulator = 0;
};
struct FrequencyAwareAdagradParams {
  float l1 = 0;
  float l2 = 0;
  float max_lr_multiplier = 0;
  float probability_exponent = 0;
  float accumulator_decay = 0;
  float initial_accumulator_value = 0;
  int step_counter_tag = 0;
};
struct FtrlParams {
  float l1 = 0;
  float l2 = 0;
  float lr_power = 0;
  float beta = 0;
  bool multiply_linear_by_lr = false;
};
struct AdamParams {
  float beta1 = 0;
  float beta2 = 0;
  float epsilon = 0;
  bool use_non_lazy_adam = false;
  bool use_sum_inside_sqrt = false;
};
struct MomentumParams {
  float momentum = 0;
  bool use_nesterov = false;
};
struct LionParams {
  float beta1 = 0;
  float beta2 = 0;
  bool use_non_lazy_lion = false;
};
struct RmsPropParams {
  float rho = 0;
  float momentum = 0;
  float epsilon = 0;
};
struct CenteredRmsPropParams {
  float rho = 0;
  float momentum = 0;
  float epsilon = 0;
};
struct AdadeltaParams {
  float rho = 0;
  float epsilon = 0;
};
struct ProximalAdagradParams {
  float l1 = 0;
  float l2 = 0;
};
struct OnlineYogiParams {
  float l1 = 0;
  float l2 = 0;
  float beta2 = 0;
};
struct ProximalYogiParams {
  float l1 = 0;
  float l2 = 0;
  float beta1 = 0;
  float beta2 = 0;
  float epsilon = 0;
};
// Accepted for configuration, Load, Retrieve and lookup; the update is not
// public, so a Send is Unimplemented.
struct MdlAdagradLightParams {};
struct FrequencyEstimatorParams {
  float tau = 0;
  float max_delta = 0;
  float outlier_threshold = 0;
};
struct UserDefinedProgramParams {};  // refused when the engine is configured
struct AssignParams {};

using OptimizerParams = std::variant<
    std::monostate, SgdParams, AdagradParams, AdagradMomentumParams,
    BoundedAdagradParams, FrequencyAwareAdagradParams, FtrlParams, AdamParams,
    MomentumParams, LionParams, RmsPropParams, CenteredRmsPropParams,
    AdadeltaParams, ProximalAdagradParams, OnlineYogiParams, ProximalYogiParams,
    MdlAdagradLightParams, FrequencyEstimatorParams, UserDefinedProgramParams,
    AssignParams>;

struct OptimizerConfig {
  LearningRate learning_rate;
  Limits clipping_limits;           // of weights, after the update
  Limits gradient_clipping_limits;  // of the accumulated gradient
  float weight_decay_factor = 0;
  bool multiply_weight_decay_factor_by_learning_rate = false;
  std::optional<SimulatedQuantization> simulated_quantization;
  // The proto's UNSPECIFIED counts as on.
  bool gradient_accumulation = true;
  OptimizerParams params;  // monostate: no optimization algorithm specified
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_OPTIMIZERS_OPTIMIZER_CONFIG_H_
