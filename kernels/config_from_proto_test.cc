#include "kernels/config_from_proto.h"

#include <limits>
#include <string>

#include "gtest/gtest.h"
#include "tensorflow/core/protobuf/tpu/tpu_embedding_configuration.pb.h"

namespace tf_embed {
namespace {

using Proto = ::tensorflow::tpu::TPUEmbeddingConfiguration;

Proto TwoTables() {
  Proto proto;
  proto.set_mode(Proto::TRAINING);
  for (const char* name : {"a", "b"}) {
    auto* table = proto.add_table_descriptor();
    table->set_name(name);
    table->set_vocabulary_size(10);
    table->set_dimension(4);
    table->mutable_optimization_parameters()
        ->mutable_stochastic_gradient_descent();
  }
  return proto;
}

Proto TableDialect() {
  Proto proto = TwoTables();
  proto.set_batch_size_per_tensor_core(3);
  proto.mutable_table_descriptor(0)->set_num_features(1);
  proto.mutable_table_descriptor(1)->set_num_features(2);
  return proto;
}

Proto FeatureDialect() {
  Proto proto = TwoTables();
  int table = 1;
  for (int rows : {4, 6}) {
    auto* feature = proto.add_feature_descriptor();
    feature->set_table_id(table--);
    feature->add_input_shape(rows);
    feature->add_input_shape(2);
  }
  return proto;
}

// Features that could as well have been derived from a table dialect.
Proto FeaturesNamedAsTheirTables() {
  Proto proto = TwoTables();
  for (int t = 0; t < 2; ++t) {
    auto* feature = proto.add_feature_descriptor();
    feature->set_name(proto.table_descriptor(t).name());
    feature->set_table_id(t);
    feature->add_input_shape(4);
  }
  return proto;
}

std::string Populated(const Proto& proto) {
  StatusOr<EngineConfig> config = ConfigFromProto(proto);
  EXPECT_TRUE(config.ok());
  EXPECT_TRUE(Populate(*config).ok());
  return SerializePopulated(*config, proto);
}

TEST(ConfigFromProtoTest, PopulatedFieldsComeAndGo) {
  for (const Proto& proto :
       {TableDialect(), FeatureDialect(), FeaturesNamedAsTheirTables()}) {
    const std::string populated = Populated(proto);
    Proto parsed;
    ASSERT_TRUE(parsed.ParseFromString(populated));
    EXPECT_GT(parsed.batch_size_per_tensor_core(), 0);
    EXPECT_EQ(parsed.feature_descriptor_size(), 2);
    EXPECT_GT(parsed.table_descriptor(1).num_features(), 0);
    const StatusOr<Proto> unpopulated = ParseUnpopulated(populated);
    ASSERT_TRUE(unpopulated.ok());
    EXPECT_EQ(unpopulated->SerializeAsString(), proto.SerializeAsString());
  }
}

TEST(ConfigFromProtoTest, WhatWasNeverPopulatedIsTakenAsItIs) {
  for (const Proto& proto : {TableDialect(), FeatureDialect()}) {
    const StatusOr<Proto> parsed = ParseUnpopulated(proto.SerializeAsString());
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(parsed->SerializeAsString(), proto.SerializeAsString());
  }
}

TEST(ConfigFromProtoTest, EmptyAndUnparsableTexts) {
  EXPECT_EQ(ParseConfigProto("").status().message(),
            "TPU embedding config is empty.");
  const Status status = ParseConfigProto("\xff\xff").status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(),
            "Failed to parse TPUEmbeddingConfiguration proto from config attr");
}

TEST(ConfigFromProtoTest, UnsetLimitsAreInfinite) {
  Proto proto = TableDialect();
  auto* parameters =
      proto.mutable_table_descriptor(0)->mutable_optimization_parameters();
  parameters->mutable_clipping_limits()->mutable_lower()->set_value(-1);
  const StatusOr<EngineConfig> config = ConfigFromProto(proto);
  ASSERT_TRUE(config.ok());
  const OptimizerConfig& optimizer = config->tables[0].optimizer;
  EXPECT_EQ(optimizer.clipping_limits.lower, -1);
  EXPECT_EQ(optimizer.clipping_limits.upper,
            std::numeric_limits<float>::infinity());
  EXPECT_FALSE(optimizer.gradient_clipping_limits.limited());
}

TEST(ConfigFromProtoTest, QuantizationCountsOnlyWhenEnabled) {
  Proto proto = TableDialect();
  auto* quantization = proto.mutable_table_descriptor(0)
                           ->mutable_optimization_parameters()
                           ->mutable_simulated_quantization();
  quantization->set_num_buckets(8);
  EXPECT_FALSE(ConfigFromProto(proto)
                   ->tables[0]
                   .optimizer.simulated_quantization.has_value());
  quantization->set_enabled(true);
  EXPECT_EQ(ConfigFromProto(proto)
                ->tables[0]
                .optimizer.simulated_quantization->num_buckets,
            8);
}

TEST(ConfigFromProtoTest, ValuesOfALaterReleaseAreRefused) {
  Proto proto = TableDialect();
  proto.set_mode(static_cast<Proto::Mode>(77));
  EXPECT_EQ(ConfigFromProto(proto)->mode, Mode::kUnspecified);
  proto.set_sharding_strategy(static_cast<Proto::ShardingStrategy>(7));
  const Status status = ConfigFromProto(proto).status();
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("sharding_strategy is 7"), std::string::npos);
}

}  // namespace
}  // namespace tf_embed
