#include "tf_embed/engine/config.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace tf_embed {
namespace {

// Each core has a queue and counters; a pod has fewer than 2^15 cores.
constexpr int kMaxTensorCores = 1 << 16;
// Offsets of this many positions take 16 GiB; no activation is larger.
constexpr int64_t kMaxPositions = std::numeric_limits<int32_t>::max();
constexpr int64_t kMaxInt64 = std::numeric_limits<int64_t>::max();

std::string TableLabel(const EngineConfig& config, size_t t) {
  return StrCat("table ", t, " ('", config.tables[t].name, "')");
}

std::string FeatureLabel(const EngineConfig& config, size_t f) {
  return StrCat("feature ", f, " ('", config.features[f].name, "')");
}

// The product of an input shape whose dimensions are positive, or an error.
StatusOr<int64_t> CountPositions(const EngineConfig& config, size_t f) {
  int64_t positions = 1;
  for (int64_t size : config.features[f].input_shape) {
    if (size > kMaxPositions / positions) {
      return InvalidArgument(FeatureLabel(config, f),
                             ": input_shape has more than ", kMaxPositions,
                             " positions.");
    }
    positions *= size;
  }
  return positions;
}

Status PopulateTableDialect(EngineConfig& config) {
  if (config.batch_size_per_tensor_core <= 0) {
    return InvalidArgument("Invalid batch_size_per_tensor_core: ",
                           config.batch_size_per_tensor_core,
                           ". Valid values are >0.");
  }
  for (size_t t = 0; t < config.tables.size(); ++t) {
    const TableConfig& table = config.tables[t];
    if (table.num_features <= 0) {
      return InvalidArgument("Invalid num_features: ", table.num_features,
                             " of ", TableLabel(config, t),
                             ". Valid values are >0.");
    }
    if (table.num_features >
        kMaxPositions / config.batch_size_per_tensor_core) {
      return InvalidArgument(TableLabel(config, t),
                             ": batch_size_per_tensor_core * num_features = ",
                             config.batch_size_per_tensor_core, " * ",
                             table.num_features, " is more than ",
                             kMaxPositions, " positions.");
    }
    FeatureConfig feature;
    feature.name = table.name;
    feature.table_id = static_cast<int>(t);
    feature.input_shape = {config.batch_size_per_tensor_core *
                           table.num_features};
    config.features.push_back(std::move(feature));
  }
  return OkStatus();
}

Status PopulateFeatureDialect(EngineConfig& config) {
  if (config.batch_size_per_tensor_core != 0) {
    return InvalidArgument(
        "batch_size_per_tensor_core: ", config.batch_size_per_tensor_core,
        " must not be populated together with feature descriptors; it is "
        "derived from their input shapes.");
  }
  const size_t num_tables = config.tables.size();
  for (size_t t = 0; t < num_tables; ++t) {
    if (config.tables[t].num_features != 0) {
      return InvalidArgument("num_features: ", config.tables[t].num_features,
                             " of ", TableLabel(config, t),
                             " must not be populated together with feature "
                             "descriptors; it is derived from their input "
                             "shapes.");
    }
  }
  std::vector<int64_t> positions_of_table(num_tables, 0);
  int64_t batch_size = 0;
  for (size_t f = 0; f < config.features.size(); ++f) {
    const FeatureConfig& feature = config.features[f];
    if (feature.table_id < 0 ||
        static_cast<size_t>(feature.table_id) >= num_tables) {
      return InvalidArgument(FeatureLabel(config, f), ": table_id ",
                             feature.table_id, " is outside [0, ", num_tables,
                             ").");
    }
    if (feature.input_shape.empty()) {
      return InvalidArgument(FeatureLabel(config, f),
                             ": input_shape must not be empty.");
    }
    for (size_t i = 0; i < feature.input_shape.size(); ++i) {
      if (feature.input_shape[i] <= 0) {
        return InvalidArgument(FeatureLabel(config, f), ": dimension ", i,
                               " of input_shape is ", feature.input_shape[i],
                               ". Valid values are >0.");
      }
    }
    TF_EMBED_ASSIGN_OR_RETURN(const int64_t positions,
                              CountPositions(config, f));
    batch_size = std::gcd(batch_size, positions);
    int64_t& sum = positions_of_table[feature.table_id];
    if (positions > kMaxInt64 - sum) {
      return InvalidArgument(TableLabel(config, feature.table_id),
                             ": its features have too many positions.");
    }
    sum += positions;
  }
  for (size_t t = 0; t < num_tables; ++t) {
    if (positions_of_table[t] == 0) {
      return InvalidArgument("No feature_descriptor fields found for ",
                             TableLabel(config, t), ".");
    }
    config.tables[t].num_features = positions_of_table[t] / batch_size;
  }
  config.batch_size_per_tensor_core = batch_size;
  return OkStatus();
}

Status CheckCores(EngineConfig& config) {
  if (config.num_hosts < 0) {
    return InvalidArgument("Invalid num_hosts: ", config.num_hosts,
                           ". Valid values are >=0.");
  }
  if (config.num_tensor_cores < 0 ||
      config.num_tensor_cores > kMaxTensorCores) {
    return InvalidArgument(
        "Invalid num_tensor_cores: ", config.num_tensor_cores,
        ". Valid values are in [0, ", kMaxTensorCores, "].");
  }
  if (config.num_hosts == 0) config.num_hosts = 1;
  if (config.num_tensor_cores == 0) config.num_tensor_cores = 1;
  const int per_core = config.cores_per_logical_core();
  if (per_core < 1 || config.num_tensor_cores % per_core != 0) {
    return InvalidArgument(
        "Invalid spmd_sharding.num_cores_per_replica: ", per_core,
        ". Valid values are the divisors of num_tensor_cores = ",
        config.num_tensor_cores, ".");
  }
  return OkStatus();
}

Status CheckQuantization(const EngineConfig& config, size_t t) {
  const auto& quantization = config.tables[t].optimizer.simulated_quantization;
  if (!quantization.has_value()) return OkStatus();
  const std::string label =
      StrCat("simulated_quantization of ", TableLabel(config, t));
  if (quantization->num_buckets < 2) {
    return InvalidArgument(label, ": num_buckets is ",
                           quantization->num_buckets,
                           ". Valid values are >=2.");
  }
  if (!quantization->lower.has_value() || !quantization->upper.has_value()) {
    return InvalidArgument(label, ": clipping_limits needs both ",
                           "lower and upper.");
  }
  const float width = *quantization->upper - *quantization->lower;
  if (!(width > 0) || !std::isfinite(width)) {
    return InvalidArgument(label, ": clipping_limits [", *quantization->lower,
                           ", ", *quantization->upper,
                           "] must be finite, with lower < upper.");
  }
  return OkStatus();
}

Status CheckTable(const EngineConfig& config, size_t t) {
  const TableConfig& table = config.tables[t];
  if (table.vocabulary_size <= 0) {
    return InvalidArgument("Invalid vocabulary_size: ", table.vocabulary_size,
                           " of ", TableLabel(config, t),
                           ". Valid values are >0.");
  }
  if (table.dimension <= 0) {
    return InvalidArgument("Invalid dimension: ", table.dimension, " of ",
                           TableLabel(config, t), ". Valid values are >0.");
  }
  if (table.dimension != 1 && std::holds_alternative<FrequencyEstimatorParams>(
                                  table.optimizer.params)) {
    return InvalidArgument("Invalid dimension: ", table.dimension, " of ",
                           TableLabel(config, t),
                           ". A FrequencyEstimator keeps one number per id; "
                           "the only valid value is 1.");
  }
  if (config.mode != Mode::kInference &&
      std::holds_alternative<std::monostate>(table.optimizer.params)) {
    return InvalidArgument("No optimization algorithm specified for ",
                           TableLabel(config, t), ".");
  }
  return CheckQuantization(config, t);
}

// Activations of all cores of an op are one array: its size must be countable.
Status CheckActivationSizes(const EngineConfig& config) {
  for (size_t f = 0; f < config.features.size(); ++f) {
    const int64_t rows =
        config.features[f].num_positions() * config.cores_per_logical_core();
    const int64_t dim = config.tables[config.features[f].table_id].dimension;
    if (dim > kMaxInt64 / static_cast<int64_t>(sizeof(float)) / rows) {
      return InvalidArgument(FeatureLabel(config, f), ": activations of ", rows,
                             " rows of dimension ", dim, " are too large.");
    }
  }
  return OkStatus();
}

std::set<int> LearningRateTags(const EngineConfig& config) {
  std::set<int> tags;
  for (const TableConfig& table : config.tables) {
    const OptimizerConfig& optimizer = table.optimizer;
    if (optimizer.learning_rate.dynamic) {
      tags.insert(optimizer.learning_rate.tag);
    }
    if (const auto* params =
            std::get_if<FrequencyAwareAdagradParams>(&optimizer.params)) {
      tags.insert(params->step_counter_tag);
    }
  }
  return tags;
}

Status CheckLearningRateTags(const EngineConfig& config) {
  const std::set<int> tags = LearningRateTags(config);
  int expected = 0;
  for (int tag : tags) {
    if (tag == expected) {
      ++expected;
      continue;
    }
    std::string found;
    for (int t : tags) found += StrCat(found.empty() ? "" : ", ", t);
    return InvalidArgument("Dynamic learning rate tag: ", expected,
                           " not found in the TPU embedding configuration, "
                           "instead found: ",
                           found);
  }
  return OkStatus();
}

}  // namespace

Status Populate(EngineConfig& config) {
  EngineConfig populated = config;
  if (populated.mode == Mode::kUnspecified) {
    return InvalidArgument(
        "TPUEmbeddingConfiguration.mode is INVALID.  Must be INFERENCE, "
        "TRAINING, or BACKWARD_PASS_ONLY");
  }
  if (populated.tables.empty()) {
    return InvalidArgument("The TPU embedding configuration has no table.");
  }
  TF_EMBED_RETURN_IF_ERROR(CheckCores(populated));
  for (size_t t = 0; t < populated.tables.size(); ++t) {
    TF_EMBED_RETURN_IF_ERROR(CheckTable(populated, t));
  }
  TF_EMBED_RETURN_IF_ERROR(CheckLearningRateTags(populated));
  populated.feature_dialect = !populated.features.empty();
  TF_EMBED_RETURN_IF_ERROR(populated.feature_dialect
                               ? PopulateFeatureDialect(populated)
                               : PopulateTableDialect(populated));
  TF_EMBED_RETURN_IF_ERROR(CheckActivationSizes(populated));
  config = std::move(populated);
  return OkStatus();
}

int NumLearningRateTags(const EngineConfig& config) {
  return static_cast<int>(LearningRateTags(config).size());
}

}  // namespace tf_embed
