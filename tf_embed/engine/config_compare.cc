#include <iterator>
#include <limits>
#include <optional>
#include <sstream>
#include <string>
#include <type_traits>
#include <variant>
#include <vector>

#include "tf_embed/engine/config.h"

namespace tf_embed {
namespace {

std::string Text(bool value) { return value ? "true" : "false"; }
std::string Text(int value) { return std::to_string(value); }
std::string Text(int64_t value) { return std::to_string(value); }
std::string Text(size_t value) { return std::to_string(value); }
std::string Text(const std::string& value) { return "'" + value + "'"; }
std::string Text(float value) {
  std::ostringstream out;
  out.precision(std::numeric_limits<float>::max_digits10);
  out << value;
  return out.str();
}
std::string Text(const std::optional<float>& value) {
  return value.has_value() ? Text(*value) : "unset";
}
std::string Text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += StrCat(i == 0 ? "" : ",", shape[i]);
  }
  return text + "]";
}
std::string Text(Mode mode) {
  switch (mode) {
    case Mode::kUnspecified:
      return "UNSPECIFIED";
    case Mode::kInference:
      return "INFERENCE";
    case Mode::kTraining:
      return "TRAINING";
    case Mode::kBackwardPassOnly:
      return "BACKWARD_PASS_ONLY";
  }
  return "?";
}
std::string Text(ShardingStrategy strategy) {
  return strategy == ShardingStrategy::kMod ? "MOD" : "DIV_DEFAULT";
}

// A NaN equals a NaN: the same proto must describe the same engine.
template <typename T>
bool Same(const T& a, const T& b) {
  return a == b;
}
bool Same(float a, float b) { return a == b || (a != a && b != b); }
bool Same(const std::optional<float>& a, const std::optional<float>& b) {
  return a.has_value() == b.has_value() && (!a.has_value() || Same(*a, *b));
}

// Remembers the first pair of fields that differ.
class Difference {
 public:
  template <typename T>
  void operator()(const char* field, const T& active, const T& other) {
    if (found() || Same(active, other)) return;
    message_ = StrCat(where_, field, " is ", Text(other),
                      ", but the active configuration has ", Text(active));
  }

  // The fields that follow belong to this table or feature.
  void Enter(const char* kind, size_t index, const std::string& name) {
    if (!found()) where_ = StrCat(kind, " ", index, " ('", name, "'): ");
  }
  bool found() const { return !message_.empty(); }
  const std::string& message() const { return message_; }

 private:
  std::string where_;
  std::string message_;
};

#define TF_EMBED_FIELD(name) d(#name, a.name, b.name)

void Compare(Difference&, std::monostate, std::monostate) {}
void Compare(Difference&, const SgdParams&, const SgdParams&) {}
void Compare(Difference&, const AdagradParams&, const AdagradParams&) {}
void Compare(Difference& d, const AdagradMomentumParams& a,
             const AdagradMomentumParams& b) {
  TF_EMBED_FIELD(momentum);
  TF_EMBED_FIELD(use_nesterov);
  TF_EMBED_FIELD(exponent);
  TF_EMBED_FIELD(beta2);
  TF_EMBED_FIELD(epsilon);
}
void Compare(Difference& d, const BoundedAdagradParams& a,
             const BoundedAdagradParams& b) {
  TF_EMBED_FIELD(update_accumulator_first);
  TF_EMBED_FIELD(max_var_update);
  TF_EMBED_FIELD(max_accumulator);
}
void Compare(Difference& d, const FrequencyAwareAdagradParams& a,
             const FrequencyAwareAdagradParams& b) {
  TF_EMBED_FIELD(l1);
  TF_EMBED_FIELD(l2);
  TF_EMBED_FIELD(max_lr_multiplier);
  TF_EMBED_FIELD(probability_exponent);
  TF_EMBED_FIELD(accumulator_decay);
  TF_EMBED_FIELD(initial_accumulator_value);
  TF_EMBED_FIELD(step_counter_tag);
}
void Compare(Difference& d, const FtrlParams& a, const FtrlParams& b) {
  TF_EMBED_FIELD(l1);
  TF_EMBED_FIELD(l2);
  TF_EMBED_FIELD(lr_power);
  TF_EMBED_FIELD(beta);
  TF_EMBED_FIELD(multiply_linear_by_lr);
}
void Compare(Difference& d, const AdamParams& a, const AdamParams& b) {
  TF_EMBED_FIELD(beta1);
  TF_EMBED_FIELD(beta2);
  TF_EMBED_FIELD(epsilon);
  TF_EMBED_FIELD(use_non_lazy_adam);
  TF_EMBED_FIELD(use_sum_inside_sqrt);
}
void Compare(Difference& d, const MomentumParams& a, const MomentumParams& b) {
  TF_EMBED_FIELD(momentum);
  TF_EMBED_FIELD(use_nesterov);
}
void Compare(Difference& d, const LionParams& a, const LionParams& b) {
  TF_EMBED_FIELD(beta1);
  TF_EMBED_FIELD(beta2);
  TF_EMBED_FIELD(use_non_lazy_lion);
}
void Compare(Difference& d, const RmsPropParams& a, const RmsPropParams& b) {
  TF_EMBED_FIELD(rho);
  TF_EMBED_FIELD(momentum);
  TF_EMBED_FIELD(epsilon);
}
void Compare(Difference& d, const CenteredRmsPropParams& a,
             const CenteredRmsPropParams& b) {
  TF_EMBED_FIELD(rho);
  TF_EMBED_FIELD(momentum);
  TF_EMBED_FIELD(epsilon);
}
void Compare(Difference& d, const AdadeltaParams& a, const AdadeltaParams& b) {
  TF_EMBED_FIELD(rho);
  TF_EMBED_FIELD(epsilon);
}
void Compare(Difference& d, const ProximalAdagradParams& a,
             const ProximalAdagradParams& b) {
  TF_EMBED_FIELD(l1);
  TF_EMBED_FIELD(l2);
}
void Compare(Difference& d, const OnlineYogiParams& a,
             const OnlineYogiParams& b) {
  TF_EMBED_FIELD(l1);
  TF_EMBED_FIELD(l2);
  TF_EMBED_FIELD(beta2);
}
void Compare(Difference& d, const ProximalYogiParams& a,
             const ProximalYogiParams& b) {
  TF_EMBED_FIELD(l1);
  TF_EMBED_FIELD(l2);
  TF_EMBED_FIELD(beta1);
  TF_EMBED_FIELD(beta2);
  TF_EMBED_FIELD(epsilon);
}
void Compare(Difference&, const MdlAdagradLightParams&,
             const MdlAdagradLightParams&) {}
void Compare(Difference& d, const FrequencyEstimatorParams& a,
             const FrequencyEstimatorParams& b) {
  TF_EMBED_FIELD(tau);
  TF_EMBED_FIELD(max_delta);
  TF_EMBED_FIELD(outlier_threshold);
}
void Compare(Difference&, const UserDefinedProgramParams&,
             const UserDefinedProgramParams&) {}
void Compare(Difference&, const AssignParams&, const AssignParams&) {}

// The proto's field of the oneof, in the order of OptimizerParams.
constexpr const char* kAlgorithms[] = {"unset",
                                       "stochastic_gradient_descent",
                                       "adagrad",
                                       "adagrad_momentum",
                                       "bounded_adagrad",
                                       "frequency_aware_adagrad",
                                       "ftrl",
                                       "adam",
                                       "momentum",
                                       "lion",
                                       "rms_prop",
                                       "centered_rms_prop",
                                       "adadelta",
                                       "proximal_adagrad",
                                       "online_yogi",
                                       "proximal_yogi",
                                       "mdl_adagrad_light",
                                       "frequency_estimator",
                                       "user_defined_program",
                                       "assign"};
static_assert(std::size(kAlgorithms) == std::variant_size_v<OptimizerParams>);

std::string Algorithm(const OptimizerConfig& config) {
  return kAlgorithms[config.params.index()];
}

void Compare(Difference& d, const OptimizerConfig& a,
             const OptimizerConfig& b) {
  TF_EMBED_FIELD(learning_rate.dynamic);
  if (a.learning_rate.dynamic) {
    TF_EMBED_FIELD(learning_rate.tag);
  } else {
    TF_EMBED_FIELD(learning_rate.constant);
  }
  TF_EMBED_FIELD(clipping_limits.lower);
  TF_EMBED_FIELD(clipping_limits.upper);
  TF_EMBED_FIELD(gradient_clipping_limits.lower);
  TF_EMBED_FIELD(gradient_clipping_limits.upper);
  TF_EMBED_FIELD(weight_decay_factor);
  TF_EMBED_FIELD(multiply_weight_decay_factor_by_learning_rate);
  d("simulated_quantization.enabled", a.simulated_quantization.has_value(),
    b.simulated_quantization.has_value());
  if (!d.found() && a.simulated_quantization.has_value()) {
    TF_EMBED_FIELD(simulated_quantization->num_buckets);
    TF_EMBED_FIELD(simulated_quantization->lower);
    TF_EMBED_FIELD(simulated_quantization->upper);
  }
  TF_EMBED_FIELD(gradient_accumulation);
  d("parameters", Algorithm(a), Algorithm(b));
  if (d.found()) return;
  std::visit(
      [&](const auto& params) {
        using Params = std::decay_t<decltype(params)>;
        Compare(d, params, std::get<Params>(b.params));
      },
      a.params);
}

void Compare(Difference& d, const TableConfig& a, const TableConfig& b) {
  TF_EMBED_FIELD(name);
  TF_EMBED_FIELD(vocabulary_size);
  TF_EMBED_FIELD(dimension);
  Compare(d, a.optimizer, b.optimizer);
}

// What the configuration's author wrote comes before what Populate derived
// from it, so that the message names the former.
void Compare(Difference& d, const EngineConfig& a, const EngineConfig& b) {
  TF_EMBED_FIELD(mode);
  TF_EMBED_FIELD(num_hosts);
  TF_EMBED_FIELD(num_tensor_cores);
  TF_EMBED_FIELD(sharding_strategy);
  TF_EMBED_FIELD(pipeline_execution_with_tensor_core);
  TF_EMBED_FIELD(spmd_sharding.enabled);
  TF_EMBED_FIELD(spmd_sharding.num_cores_per_replica);
  TF_EMBED_FIELD(spmd_sharding.use_manual_partitioning);
  TF_EMBED_FIELD(feature_dialect);
  d("number of table descriptors", a.tables.size(), b.tables.size());
  d("number of feature descriptors", a.features.size(), b.features.size());
  if (!a.feature_dialect) TF_EMBED_FIELD(batch_size_per_tensor_core);
  if (d.found()) return;
  for (size_t t = 0; t < a.tables.size(); ++t) {
    d.Enter("table", t, a.tables[t].name);
    Compare(d, a.tables[t], b.tables[t]);
    if (!a.feature_dialect)
      d("num_features", a.tables[t].num_features, b.tables[t].num_features);
  }
  for (size_t f = 0; f < a.features.size(); ++f) {
    d.Enter("feature", f, a.features[f].name);
    d("table_id", a.features[f].table_id, b.features[f].table_id);
    d("input_shape", a.features[f].input_shape, b.features[f].input_shape);
  }
}

#undef TF_EMBED_FIELD

}  // namespace

Status SameConfig(const EngineConfig& active, const EngineConfig& other) {
  Difference difference;
  Compare(difference, active, other);
  if (!difference.found()) return OkStatus();
  return InvalidArgument(
      "The op's TPU embedding configuration differs from the active one: ",
      difference.message(), ".");
}

}  // namespace tf_embed
