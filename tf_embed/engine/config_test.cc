#include "tf_embed/engine/config.h"

#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace tf_embed {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

TableConfig Table(const std::string& name, int64_t vocabulary_size = 10,
                  int64_t dimension = 4, int64_t num_features = 0) {
  TableConfig table;
  table.name = name;
  table.vocabulary_size = vocabulary_size;
  table.dimension = dimension;
  table.num_features = num_features;
  table.optimizer.params = SgdParams{};
  return table;
}

FeatureConfig Feature(int table_id, std::vector<int64_t> input_shape) {
  return {"f", table_id, std::move(input_shape)};
}

EngineConfig TableDialect() {
  EngineConfig config;
  config.mode = Mode::kTraining;
  config.tables = {Table("a", 7, 3, 2), Table("b", 5, 4, 1)};
  config.batch_size_per_tensor_core = 4;
  return config;
}

EngineConfig FeatureDialect() {
  EngineConfig config;
  config.mode = Mode::kTraining;
  config.tables = {Table("a", 7, 3), Table("b", 5, 4)};
  config.features = {Feature(0, {100, 5}), Feature(1, {200, 5, 20}),
                     Feature(0, {50}), Feature(0, {100, 2, 3})};
  return config;
}

TEST(PopulateTest, TableDialectGetsOneFeaturePerTable) {
  EngineConfig config = TableDialect();
  ASSERT_TRUE(Populate(config).ok());
  EXPECT_FALSE(config.feature_dialect);
  ASSERT_EQ(config.features.size(), 2u);
  EXPECT_EQ(config.features[0].name, "a");
  EXPECT_EQ(config.features[0].table_id, 0);
  EXPECT_EQ(config.features[0].input_shape, std::vector<int64_t>{8});
  EXPECT_EQ(config.features[1].table_id, 1);
  EXPECT_EQ(config.features[1].input_shape, std::vector<int64_t>{4});
  EXPECT_EQ(config.num_hosts, 1);
  EXPECT_EQ(config.num_tensor_cores, 1);
}

// The example of semantics 2.3.
TEST(PopulateTest, FeatureDialectDerivesBatchSizeAsGreatestCommonDivisor) {
  EngineConfig config = FeatureDialect();
  ASSERT_TRUE(Populate(config).ok());
  EXPECT_TRUE(config.feature_dialect);
  EXPECT_EQ(config.batch_size_per_tensor_core, 50);
  EXPECT_EQ(config.tables[0].num_features, 23);
  EXPECT_EQ(config.tables[1].num_features, 400);
}

struct BadConfig {
  std::string name;
  bool feature_dialect;
  std::function<void(EngineConfig&)> change;
  std::string message;
};

class PopulateErrorTest : public testing::TestWithParam<BadConfig> {};

TEST_P(PopulateErrorTest, IsInvalidArgumentAndChangesNothing) {
  EngineConfig config =
      GetParam().feature_dialect ? FeatureDialect() : TableDialect();
  GetParam().change(config);
  const size_t num_features = config.features.size();
  const int64_t batch_size = config.batch_size_per_tensor_core;
  const Status status = Populate(config);
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), GetParam().message);
  EXPECT_EQ(config.features.size(), num_features);
  EXPECT_EQ(config.batch_size_per_tensor_core, batch_size);
}

void DynamicTag(EngineConfig& config, int table, int tag) {
  config.tables[table].optimizer.learning_rate = {true, 0, tag};
}

INSTANTIATE_TEST_SUITE_P(
    All, PopulateErrorTest,
    testing::ValuesIn(std::vector<BadConfig>{
        {"Mode", false, [](auto& c) { c.mode = Mode::kUnspecified; },
         "TPUEmbeddingConfiguration.mode is INVALID.  Must be INFERENCE, "
         "TRAINING, or BACKWARD_PASS_ONLY"},
        {"NoTable", false, [](auto& c) { c.tables.clear(); },
         "The TPU embedding configuration has no table."},
        {"Vocabulary", false, [](auto& c) { c.tables[1].vocabulary_size = 0; },
         "Invalid vocabulary_size: 0 of table 1 ('b'). Valid values are >0."},
        {"Dimension", true, [](auto& c) { c.tables[0].dimension = -3; },
         "Invalid dimension: -3 of table 0 ('a'). Valid values are >0."},
        {"EstimatorDimension", true,
         [](auto& c) {
           c.tables[0].dimension = 2;
           c.tables[0].optimizer.params = FrequencyEstimatorParams{};
         },
         "Invalid dimension: 2 of table 0 ('a'). A FrequencyEstimator keeps "
         "one number per id; the only valid value is 1."},
        {"Hosts", false, [](auto& c) { c.num_hosts = -1; },
         "Invalid num_hosts: -1. Valid values are >=0."},
        {"Cores", false, [](auto& c) { c.num_tensor_cores = -2; },
         "Invalid num_tensor_cores: -2. Valid values are in [0, 65536]."},
        {"TooManyCores", false, [](auto& c) { c.num_tensor_cores = 65537; },
         "Invalid num_tensor_cores: 65537. Valid values are in [0, 65536]."},
        {"NoOptimizer", false,
         [](auto& c) { c.tables[0].optimizer.params = std::monostate(); },
         "No optimization algorithm specified for table 0 ('a')."},
        {"SpmdZero", false, [](auto& c) { c.spmd_sharding.enabled = true; },
         "Invalid spmd_sharding.num_cores_per_replica: 0. Valid values are "
         "the divisors of num_tensor_cores = 1."},
        {"SpmdNoDivisor", false,
         [](auto& c) {
           c.num_tensor_cores = 4;
           c.spmd_sharding = {true, 3, false};
         },
         "Invalid spmd_sharding.num_cores_per_replica: 3. Valid values are "
         "the divisors of num_tensor_cores = 4."},
        {"Buckets", false,
         [](auto& c) {
           c.tables[0].optimizer.simulated_quantization =
               SimulatedQuantization{1, -1.0f, 1.0f};
         },
         "simulated_quantization of table 0 ('a'): num_buckets is 1. Valid "
         "values are >=2."},
        {"OneLimit", false,
         [](auto& c) {
           c.tables[0].optimizer.simulated_quantization =
               SimulatedQuantization{8, -1.0f, std::nullopt};
         },
         "simulated_quantization of table 0 ('a'): clipping_limits needs both "
         "lower and upper."},
        {"LimitOrder", false,
         [](auto& c) {
           c.tables[0].optimizer.simulated_quantization =
               SimulatedQuantization{8, 1.0f, 1.0f};
         },
         "simulated_quantization of table 0 ('a'): clipping_limits [1, 1] "
         "must be finite, with lower < upper."},
        {"NanLimit", false,
         [](auto& c) {
           c.tables[0].optimizer.simulated_quantization =
               SimulatedQuantization{8, -1.0f, kNan};
         },
         "simulated_quantization of table 0 ('a'): clipping_limits [-1, nan] "
         "must be finite, with lower < upper."},
        {"TagGap", false,
         [](auto& c) {
           DynamicTag(c, 0, 0);
           DynamicTag(c, 1, 2);
         },
         "Dynamic learning rate tag: 1 not found in the TPU embedding "
         "configuration, instead found: 0, 2"},
        {"NegativeTag", false, [](auto& c) { DynamicTag(c, 0, -1); },
         "Dynamic learning rate tag: 0 not found in the TPU embedding "
         "configuration, instead found: -1"},
        {"StepCounterTagGap", false,
         [](auto& c) {
           FrequencyAwareAdagradParams params;
           params.step_counter_tag = 1;
           c.tables[0].optimizer.params = params;
         },
         "Dynamic learning rate tag: 0 not found in the TPU embedding "
         "configuration, instead found: 1"},
        {"NoBatchSize", false,
         [](auto& c) { c.batch_size_per_tensor_core = 0; },
         "Invalid batch_size_per_tensor_core: 0. Valid values are >0."},
        {"NoNumFeatures", false, [](auto& c) { c.tables[1].num_features = 0; },
         "Invalid num_features: 0 of table 1 ('b'). Valid values are >0."},
        {"TooManyPositions", false,
         [](auto& c) { c.tables[0].num_features = int64_t{1} << 62; },
         "table 0 ('a'): batch_size_per_tensor_core * num_features = 4 * "
         "4611686018427387904 is more than 2147483647 positions."},
        {"BatchSizeWithFeatures", true,
         [](auto& c) { c.batch_size_per_tensor_core = 50; },
         "batch_size_per_tensor_core: 50 must not be populated together with "
         "feature descriptors; it is derived from their input shapes."},
        {"NumFeaturesWithFeatures", true,
         [](auto& c) { c.tables[1].num_features = 1; },
         "num_features: 1 of table 1 ('b') must not be populated together "
         "with feature descriptors; it is derived from their input shapes."},
        {"TableId", true, [](auto& c) { c.features[2].table_id = 2; },
         "feature 2 ('f'): table_id 2 is outside [0, 2)."},
        {"NegativeTableId", true, [](auto& c) { c.features[0].table_id = -1; },
         "feature 0 ('f'): table_id -1 is outside [0, 2)."},
        {"EmptyShape", true, [](auto& c) { c.features[1].input_shape = {}; },
         "feature 1 ('f'): input_shape must not be empty."},
        {"ZeroDimension", true,
         [](auto& c) { c.features[1].input_shape = {3, 0}; },
         "feature 1 ('f'): dimension 1 of input_shape is 0. Valid values are "
         ">0."},
        {"HugeShape", true,
         [](auto& c) {
           c.features[1].input_shape = {int64_t{1} << 40, int64_t{1} << 40};
         },
         "feature 1 ('f'): input_shape has more than 2147483647 positions."},
        {"UnusedTable", true, [](auto& c) { c.features[1].table_id = 0; },
         "No feature_descriptor fields found for table 1 ('b')."},
        {"HugeActivations", true,
         [](auto& c) { c.tables[0].dimension = int64_t{1} << 61; },
         "feature 0 ('f'): activations of 500 rows of dimension "
         "2305843009213693952 are too large."},
    }),
    [](const auto& info) { return info.param.name; });

TEST(PopulateTest, InferenceNeedsNoOptimizer) {
  EngineConfig config = TableDialect();
  config.mode = Mode::kInference;
  config.tables[0].optimizer.params = std::monostate();
  EXPECT_TRUE(Populate(config).ok());
}

TEST(PopulateTest, ManualPartitioningLeavesCoresAlone) {
  EngineConfig config = TableDialect();
  config.spmd_sharding = {true, 0, true};
  EXPECT_TRUE(Populate(config).ok());
  EXPECT_EQ(config.cores_per_logical_core(), 1);
}

TEST(PopulateTest, TagsOfLearningRatesAndStepCountersCountTogether) {
  EngineConfig config = TableDialect();
  DynamicTag(config, 0, 1);
  FrequencyAwareAdagradParams params;
  params.step_counter_tag = 0;
  config.tables[1].optimizer.params = params;
  ASSERT_TRUE(Populate(config).ok());
  EXPECT_EQ(NumLearningRateTags(config), 2);
}

// Any config is either refused with InvalidArgument or comes out consistent.
TEST(PopulateTest, RandomConfigsAreRefusedOrConsistent) {
  std::mt19937_64 random(7);
  const std::vector<int64_t> numbers = {0,
                                        1,
                                        2,
                                        3,
                                        4,
                                        6,
                                        100,
                                        -1,
                                        -7,
                                        5,
                                        8,
                                        12,
                                        65536,
                                        int64_t{1} << 31,
                                        std::numeric_limits<int64_t>::max(),
                                        std::numeric_limits<int64_t>::min()};
  const auto number = [&](int common) {
    return random() % 8 != 0 ? static_cast<int64_t>(1 + random() % common)
                             : numbers[random() % numbers.size()];
  };
  int accepted = 0;
  for (int trial = 0; trial < 20000; ++trial) {
    SCOPED_TRACE(trial);
    EngineConfig config;
    config.mode = static_cast<Mode>(random() % 8 == 0 ? 0 : 1 + random() % 3);
    const bool features = random() % 2;
    const int num_tables = random() % 12 == 0 ? 0 : 1 + random() % 3;
    for (int t = 0; t < num_tables; ++t) {
      config.tables.push_back(
          Table("t", number(9), number(9), features ? 0 : number(4)));
      if (random() % 3 == 0)
        DynamicTag(config, t, static_cast<int>(random() % 4) - 1);
    }
    config.num_hosts = static_cast<int>(number(3));
    config.num_tensor_cores = static_cast<int>(number(4));
    if (random() % 4 == 0) {
      config.spmd_sharding = {random() % 2 == 0, static_cast<int>(number(2)),
                              random() % 2 == 0};
    }
    if (!features) config.batch_size_per_tensor_core = number(8);
    for (int f = 0; features && f < 4; ++f) {
      std::vector<int64_t> shape(random() % 16 == 0 ? 0 : 1 + random() % 3);
      for (int64_t& size : shape) size = number(6);
      config.features.push_back(
          Feature(static_cast<int>(random() % 16 == 0 ? number(4)
                                                      : f % (num_tables + 1)),
                  shape));
    }
    const Status status = Populate(config);
    if (!status.ok()) {
      EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
      EXPECT_FALSE(status.message().empty());
      continue;
    }
    ++accepted;
    std::vector<int64_t> positions(config.tables.size(), 0);
    int64_t gcd = 0;
    for (const FeatureConfig& feature : config.features) {
      ASSERT_GT(feature.num_positions(), 0);
      positions.at(feature.table_id) += feature.num_positions();
      gcd = std::gcd(gcd, feature.num_positions());
    }
    for (size_t t = 0; t < config.tables.size(); ++t) {
      EXPECT_EQ(
          config.tables[t].num_features * config.batch_size_per_tensor_core,
          positions[t]);
    }
    if (config.feature_dialect) {
      EXPECT_EQ(config.batch_size_per_tensor_core, gcd);
    }
    EXPECT_GE(config.num_tensor_cores, 1);
    EXPECT_EQ(config.num_tensor_cores % config.cores_per_logical_core(), 0);
    EXPECT_TRUE(SameConfig(config, config).ok());
  }
  EXPECT_GT(accepted, 1000);
}

struct Change {
  std::string name;
  std::function<void(EngineConfig&)> change;
  std::string message;  // behind the common beginning
};

class SameConfigTest : public testing::TestWithParam<Change> {};

TEST_P(SameConfigTest, NamesFirstDifferentField) {
  for (const bool features : {false, true}) {
    EngineConfig active = features ? FeatureDialect() : TableDialect();
    active.tables[1].optimizer.params = AdamParams{0.9f, 0.999f, 1e-7f};
    EngineConfig other = active;
    GetParam().change(other);
    ASSERT_TRUE(Populate(active).ok());
    const Status populated = Populate(other);
    ASSERT_TRUE(populated.ok()) << populated.message();
    EXPECT_TRUE(SameConfig(active, active).ok());
    const Status status = SameConfig(active, other);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(status.message(),
              "The op's TPU embedding configuration differs from the active "
              "one: " +
                  GetParam().message + ".");
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, SameConfigTest,
    testing::ValuesIn(std::vector<Change>{
        {"Mode", [](auto& c) { c.mode = Mode::kInference; },
         "mode is INFERENCE, but the active configuration has TRAINING"},
        {"Cores", [](auto& c) { c.num_tensor_cores = 2; },
         "num_tensor_cores is 2, but the active configuration has 1"},
        {"Sharding",
         [](auto& c) { c.sharding_strategy = ShardingStrategy::kMod; },
         "sharding_strategy is MOD, but the active configuration has "
         "DIV_DEFAULT"},
        {"Pipelining",
         [](auto& c) { c.pipeline_execution_with_tensor_core = true; },
         "pipeline_execution_with_tensor_core is true, but the active "
         "configuration has false"},
        {"Vocabulary", [](auto& c) { c.tables[1].vocabulary_size = 99; },
         "table 1 ('b'): vocabulary_size is 99, but the active configuration "
         "has 5"},
        {"TableName", [](auto& c) { c.tables[0].name = "x"; },
         "table 0 ('a'): name is 'x', but the active configuration has 'a'"},
        {"Algorithm",
         [](auto& c) { c.tables[0].optimizer.params = AdagradParams{}; },
         "table 0 ('a'): parameters is 'adagrad', but the active configuration "
         "has 'stochastic_gradient_descent'"},
        {"Hyperparameter",
         [](auto& c) {
           c.tables[1].optimizer.params = AdamParams{0.9f, 0.99f, 1e-7f};
         },
         "table 1 ('b'): beta2 is 0.99000001, but the active configuration "
         "has 0.999000013"},
        {"LearningRate",
         [](auto& c) { c.tables[0].optimizer.learning_rate.constant = 0.5f; },
         "table 0 ('a'): learning_rate.constant is 0.5, but the active "
         "configuration has 0"},
        {"Quantization",
         [](auto& c) {
           c.tables[0].optimizer.simulated_quantization =
               SimulatedQuantization{8, -1.0f, 1.0f};
         },
         "table 0 ('a'): simulated_quantization.enabled is true, but the "
         "active configuration has false"},
    }),
    [](const auto& info) { return info.param.name; });

TEST(SameConfigTest, InputShapesCountAndFeatureNamesDoNot) {
  EngineConfig active = FeatureDialect();
  EngineConfig other = active;
  other.features[2].name = "another";
  ASSERT_TRUE(Populate(active).ok());
  EngineConfig renamed = other;
  ASSERT_TRUE(Populate(renamed).ok());
  EXPECT_TRUE(SameConfig(active, renamed).ok());
  other.features[2].input_shape = {25, 2};
  ASSERT_TRUE(Populate(other).ok());
  EXPECT_EQ(SameConfig(active, other).message(),
            "The op's TPU embedding configuration differs from the active "
            "one: feature 2 ('f'): input_shape is [25,2], but the active "
            "configuration has [50].");
}

TEST(SameConfigTest, NanEqualsItself) {
  EngineConfig config = TableDialect();
  config.tables[0].optimizer.weight_decay_factor = kNan;
  ASSERT_TRUE(Populate(config).ok());
  EXPECT_TRUE(SameConfig(config, config).ok());
}

}  // namespace
}  // namespace tf_embed
