#ifndef TF_EMBED_TF_EMBED_ENGINE_CONFIG_H_
#define TF_EMBED_TF_EMBED_ENGINE_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tf_embed/base/status.h"
#include "tf_embed/optimizers/optimizer_config.h"

namespace tf_embed {

// tensorflow.tpu.TPUEmbeddingConfiguration, free of protobuf. Names and
// meaning are the proto's; see there for each field.

enum class Mode { kUnspecified, kInference, kTraining, kBackwardPassOnly };

enum class ShardingStrategy { kDiv, kMod };

struct TableConfig {
  std::string name;
  int64_t vocabulary_size = 0;
  int64_t dimension = 0;
  int64_t num_features = 0;
  OptimizerConfig optimizer;
};

struct FeatureConfig {
  std::string name;  // for messages only
  int table_id = 0;
  std::vector<int64_t> input_shape;  // of the activation, without its last axis

  int64_t num_positions() const {
    int64_t product = 1;
    for (int64_t size : input_shape) product *= size;
    return product;
  }
};

struct SpmdSharding {
  bool enabled = false;
  int num_cores_per_replica = 0;
  bool use_manual_partitioning = false;
};

struct EngineConfig {
  std::vector<TableConfig> tables;
  std::vector<FeatureConfig> features;
  Mode mode = Mode::kUnspecified;
  int64_t batch_size_per_tensor_core = 0;
  int num_hosts = 0;
  int num_tensor_cores = 0;
  ShardingStrategy sharding_strategy = ShardingStrategy::kDiv;
  bool pipeline_execution_with_tensor_core = false;
  SpmdSharding spmd_sharding;

  // Whether the features were given (feature dialect) or derived, one per
  // table (table dialect). Set by Populate.
  bool feature_dialect = false;

  // Cores that one Recv or Send speaks for: num_cores_per_replica where SPMD
  // with automatic partitioning is on, else 1.
  int cores_per_logical_core() const {
    return spmd_sharding.enabled && !spmd_sharding.use_manual_partitioning
               ? spmd_sharding.num_cores_per_replica
               : 1;
  }
};

// Fills in what the dialect leaves out (semantics of
// PopulateMissingFieldsInTPUEmbeddingConfig) and checks everything. On error
// the config is unchanged.
Status Populate(EngineConfig& config);

// Number of dynamic learning rates and step counters that a Send brings.
int NumLearningRateTags(const EngineConfig& config);

// OK if the two populated configs describe the same engine; otherwise
// InvalidArgument that names the first differing field and both values.
// Feature names do not count.
Status SameConfig(const EngineConfig& active, const EngineConfig& other);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_CONFIG_H_
