#include "kernels/config_from_proto.h"

#include <limits>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "tensorflow/core/protobuf/tpu/optimization_parameters.pb.h"
#include "tensorflow/core/protobuf/tpu/tpu_embedding_configuration.pb.h"

namespace tf_embed {
namespace {

namespace tpu = ::tensorflow::tpu;

Limits LimitsFromProto(const tpu::ClippingLimits& proto) {
  Limits limits;
  if (proto.has_lower()) limits.lower = proto.lower().value();
  if (proto.has_upper()) limits.upper = proto.upper().value();
  return limits;
}

SimulatedQuantization QuantizationFromProto(
    const tpu::SimulatedQuantization& proto) {
  SimulatedQuantization quantization;
  quantization.num_buckets = proto.num_buckets();
  const tpu::ClippingLimits& limits = proto.clipping_limits();
  if (limits.has_lower()) quantization.lower = limits.lower().value();
  if (limits.has_upper()) quantization.upper = limits.upper().value();
  return quantization;
}

LearningRate LearningRateFromProto(const tpu::LearningRate& proto) {
  LearningRate rate;
  rate.dynamic = proto.has_dynamic();
  if (rate.dynamic) {
    rate.tag = proto.dynamic().tag();
  } else {
    rate.constant = proto.constant();
  }
  return rate;
}

// One branch for each optimizer of the proto's oneof.
OptimizerParams ParamsFromProto(const tpu::OptimizationParameters& proto) {
  using Case = tpu::OptimizationParameters::ParametersCase;
  switch (proto.parameters_case()) {
    case Case::kStochasticGradientDescent:
      return SgdParams{};
    case Case::kAdagrad:
      return AdagradParams{};
    case Case::kAdagradMomentum: {
      const auto& p = proto.adagrad_momentum();
      AdagradMomentumParams params;
      params.momentum = p.momentum();
      params.use_nesterov = p.use_nesterov();
      params.exponent = p.exponent();
      params.beta2 = p.beta2();
      params.epsilon = p.epsilon();
      return params;
    }
    case Case::kBoundedAdagrad: {
      const auto& p = proto.bounded_adagrad();
      BoundedAdagradParams params;
      params.update_accumulator_first = p.update_accumulator_first();
      params.max_var_update = p.max_var_update();
      params.max_accumulator = p.max_accumulator();
      return params;
    }
    case Case::kFrequencyAwareAdagrad: {
      const auto& p = proto.frequency_aware_adagrad();
      FrequencyAwareAdagradParams params;
      params.l1 = p.l1_regularization_strength();
      params.l2 = p.l2_regularization_strength();
      params.max_lr_multiplier = p.max_lr_multiplier();
      params.probability_exponent = p.probability_exponent();
      params.accumulator_decay = p.accumulator_decay();
      params.initial_accumulator_value = p.initial_accumulator_value();
      params.step_counter_tag = p.step_counter().tag();
      return params;
    }
    case Case::kFtrl: {
      const auto& p = proto.ftrl();
      FtrlParams params;
      params.l1 = p.l1();
      params.l2 = p.l2();
      params.lr_power = p.lr_power();
      params.beta = p.beta();
      params.multiply_linear_by_lr = p.multiply_linear_by_lr();
      return params;
    }
    case Case::kAdam: {
      const auto& p = proto.adam();
      AdamParams params;
      params.beta1 = p.beta1();
      params.beta2 = p.beta2();
      params.epsilon = p.epsilon();
      params.use_non_lazy_adam = p.use_non_lazy_adam();
      params.use_sum_inside_sqrt = p.use_sum_inside_sqrt();
      return params;
    }
    case Case::kMomentum: {
      const auto& p = proto.momentum();
      return MomentumParams{p.momentum(), p.use_nesterov()};
    }
    case Case::kLion: {
      const auto& p = proto.lion();
      return LionParams{p.beta1(), p.beta2(), p.use_non_lazy_lion()};
    }
    case Case::kRmsProp: {
      const auto& p = proto.rms_prop();
      return RmsPropParams{p.rho(), p.momentum(), p.epsilon()};
    }
    case Case::kCenteredRmsProp: {
      const auto& p = proto.centered_rms_prop();
      return CenteredRmsPropParams{p.rho(), p.momentum(), p.epsilon()};
    }
    case Case::kMdlAdagradLight:
      return MdlAdagradLightParams{};
    case Case::kAdadelta: {
      const auto& p = proto.adadelta();
      return AdadeltaParams{p.rho(), p.epsilon()};
    }
    case Case::kProximalAdagrad: {
      const auto& p = proto.proximal_adagrad();
      return ProximalAdagradParams{p.l1(), p.l2()};
    }
    case Case::kOnlineYogi: {
      const auto& p = proto.online_yogi();
      return OnlineYogiParams{p.l1(), p.l2(), p.beta2()};
    }
    case Case::kProximalYogi: {
      const auto& p = proto.proximal_yogi();
      ProximalYogiParams params;
      params.l1 = p.l1();
      params.l2 = p.l2();
      params.beta1 = p.beta1();
      params.beta2 = p.beta2();
      params.epsilon = p.epsilon();
      return params;
    }
    case Case::kFrequencyEstimator: {
      const auto& p = proto.frequency_estimator();
      return FrequencyEstimatorParams{p.tau(), p.max_delta(),
                                      p.outlier_threshold()};
    }
    case Case::kUserDefinedProgram:
      return UserDefinedProgramParams{};
    case Case::kAssign:
      return AssignParams{};
    case Case::PARAMETERS_NOT_SET:
      break;
  }
  return std::monostate{};
}

OptimizerConfig OptimizerFromProto(const tpu::OptimizationParameters& proto) {
  OptimizerConfig config;
  config.learning_rate = LearningRateFromProto(proto.learning_rate());
  config.clipping_limits = LimitsFromProto(proto.clipping_limits());
  config.gradient_clipping_limits =
      LimitsFromProto(proto.gradient_clipping_limits());
  config.weight_decay_factor = proto.weight_decay_factor();
  config.multiply_weight_decay_factor_by_learning_rate =
      proto.multiply_weight_decay_factor_by_learning_rate();
  if (proto.simulated_quantization().enabled()) {
    config.simulated_quantization =
        QuantizationFromProto(proto.simulated_quantization());
  }
  config.gradient_accumulation = proto.gradient_accumulation_status() !=
                                 tpu::GradientAccumulationStatus::DISABLED;
  config.params = ParamsFromProto(proto);
  return config;
}

// A value that this release does not know counts as unspecified, which
// Populate refuses.
Mode ModeFromProto(tpu::TPUEmbeddingConfiguration::Mode mode) {
  switch (mode) {
    case tpu::TPUEmbeddingConfiguration::INFERENCE:
      return Mode::kInference;
    case tpu::TPUEmbeddingConfiguration::TRAINING:
      return Mode::kTraining;
    case tpu::TPUEmbeddingConfiguration::BACKWARD_PASS_ONLY:
      return Mode::kBackwardPassOnly;
    default:
      return Mode::kUnspecified;
  }
}

// Ends a serialized proto whose features were derived from a table dialect,
// which could have been written by hand just so. To a parser it is a field that
// no release knows, 2^29 - 1, with value 1.
constexpr char kFeaturesAreDerived[] = "\xf8\xff\xff\xff\x0f\x01";

}  // namespace

StatusOr<tpu::TPUEmbeddingConfiguration> ParseConfigProto(
    const std::string& serialized) {
  if (serialized.empty()) {
    return InvalidArgument("TPU embedding config is empty.");
  }
  tpu::TPUEmbeddingConfiguration proto;
  if (!proto.ParseFromString(serialized)) {
    return InvalidArgument(
        "Failed to parse TPUEmbeddingConfiguration proto from config attr");
  }
  return proto;
}

StatusOr<EngineConfig> ConfigFromProto(
    const tpu::TPUEmbeddingConfiguration& proto) {
  EngineConfig config;
  config.tables.reserve(proto.table_descriptor_size());
  for (const auto& descriptor : proto.table_descriptor()) {
    TableConfig table;
    table.name = descriptor.name();
    table.vocabulary_size = descriptor.vocabulary_size();
    table.dimension = descriptor.dimension();
    table.num_features = descriptor.num_features();
    table.optimizer = OptimizerFromProto(descriptor.optimization_parameters());
    config.tables.push_back(std::move(table));
  }
  config.features.reserve(proto.feature_descriptor_size());
  for (const auto& descriptor : proto.feature_descriptor()) {
    FeatureConfig feature;
    feature.name = descriptor.name();
    feature.table_id = descriptor.table_id();
    feature.input_shape.assign(descriptor.input_shape().begin(),
                               descriptor.input_shape().end());
    config.features.push_back(std::move(feature));
  }
  config.mode = ModeFromProto(proto.mode());
  config.batch_size_per_tensor_core = proto.batch_size_per_tensor_core();
  config.num_hosts = proto.num_hosts();
  config.num_tensor_cores = proto.num_tensor_cores();
  switch (proto.sharding_strategy()) {
    case tpu::TPUEmbeddingConfiguration::DIV_DEFAULT:
      config.sharding_strategy = ShardingStrategy::kDiv;
      break;
    case tpu::TPUEmbeddingConfiguration::MOD:
      config.sharding_strategy = ShardingStrategy::kMod;
      break;
    default:
      return InvalidArgument("TPUEmbeddingConfiguration.sharding_strategy is ",
                             static_cast<int>(proto.sharding_strategy()),
                             "; must be DIV_DEFAULT (0) or MOD (1)");
  }
  config.pipeline_execution_with_tensor_core =
      proto.pipeline_execution_with_tensor_core();
  config.spmd_sharding.enabled = proto.spmd_sharding().enabled();
  config.spmd_sharding.num_cores_per_replica =
      proto.spmd_sharding().num_cores_per_replica();
  config.spmd_sharding.use_manual_partitioning =
      proto.spmd_sharding().use_manual_partitioning();
  return config;
}

StatusOr<EngineConfig> ParsePopulatedConfig(const std::string& serialized) {
  TF_EMBED_ASSIGN_OR_RETURN(const tpu::TPUEmbeddingConfiguration proto,
                            ParseConfigProto(serialized));
  TF_EMBED_ASSIGN_OR_RETURN(EngineConfig config, ConfigFromProto(proto));
  TF_EMBED_RETURN_IF_ERROR(Populate(config));
  return config;
}

std::string SerializePopulated(const EngineConfig& populated,
                               tpu::TPUEmbeddingConfiguration proto) {
  if (populated.feature_dialect) {
    proto.set_batch_size_per_tensor_core(populated.batch_size_per_tensor_core);
    for (int t = 0; t < proto.table_descriptor_size(); ++t) {
      proto.mutable_table_descriptor(t)->set_num_features(
          populated.tables[t].num_features);
    }
    return proto.SerializeAsString();
  }
  for (const FeatureConfig& feature : populated.features) {
    auto* descriptor = proto.add_feature_descriptor();
    descriptor->set_name(feature.name);
    descriptor->set_table_id(feature.table_id);
    for (int64_t size : feature.input_shape) descriptor->add_input_shape(size);
  }
  return proto.SerializeAsString() + kFeaturesAreDerived;
}

StatusOr<tpu::TPUEmbeddingConfiguration> ParseUnpopulated(
    const std::string& serialized) {
  absl::string_view fields = serialized;
  const bool derived = absl::ConsumeSuffix(&fields, kFeaturesAreDerived);
  TF_EMBED_ASSIGN_OR_RETURN(tpu::TPUEmbeddingConfiguration proto,
                            ParseConfigProto(std::string(fields)));
  if (derived) {
    proto.clear_feature_descriptor();
    return proto;
  }
  if (proto.feature_descriptor_size() > 0 &&
      proto.batch_size_per_tensor_core() > 0) {
    proto.clear_batch_size_per_tensor_core();
    for (auto& table : *proto.mutable_table_descriptor()) {
      table.clear_num_features();
    }
  }
  return proto;
}

}  // namespace tf_embed
