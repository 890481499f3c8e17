#include "tf_embed/engine/batch.h"

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tf_embed/engine/enqueue_builder.h"

namespace tf_embed {
namespace {

using Ids = std::vector<int64_t>;
using Floats = std::vector<float>;

TableConfig Table(const std::string& name, int64_t vocabulary_size,
                  int64_t num_features = 0) {
  TableConfig table;
  table.name = name;
  table.vocabulary_size = vocabulary_size;
  table.dimension = 4;
  table.num_features = num_features;
  table.optimizer.params = SgdParams{};
  return table;
}

EngineConfig Populated(EngineConfig config) {
  config.mode = Mode::kTraining;
  const Status status = Populate(config);
  EXPECT_TRUE(status.ok()) << status.message();
  return config;
}

// One feature 'user' of the given shape on a table 'users' of 10 rows.
EngineConfig OneFeature(std::vector<int64_t> input_shape) {
  EngineConfig config;
  config.tables = {Table("users", 10)};
  config.features = {{"user", 0, std::move(input_shape)}};
  return Populated(config);
}

// Tables 'a' (10 rows, 3 features) and 'b' (5 rows, 1 feature), 2 examples.
EngineConfig TwoTables() {
  EngineConfig config;
  config.tables = {Table("a", 10, 3), Table("b", 5, 1)};
  config.batch_size_per_tensor_core = 2;
  return Populated(config);
}

Batch Build(const EngineConfig& config, EnqueueBuilder& builder,
            BatchOptions options = {}) {
  Batch batch;
  const Status status =
      BuildBatch(config, builder.Build(), Mode::kUnspecified, options, batch);
  EXPECT_TRUE(status.ok()) << status.message();
  batch.features.resize(config.features.size());
  return batch;
}

void ExpectError(const EngineConfig& config, EnqueueBuilder& builder,
                 const std::string& message, BatchOptions options = {}) {
  Batch batch;
  const Status status =
      BuildBatch(config, builder.Build(), Mode::kTraining, options, batch);
  ASSERT_FALSE(status.ok()) << "instead of: " << message;
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), message);
}

TEST(ArbitraryTest, ModeIsTheConfigsUnlessGiven) {
  const EngineConfig config = OneFeature({2});
  EnqueueBuilder builder;
  builder.Dense({1, 2});
  EXPECT_EQ(Build(config, builder).mode, Mode::kTraining);
  Batch batch;
  ASSERT_TRUE(
      BuildBatch(config, builder.Build(), Mode::kInference, {}, batch).ok());
  EXPECT_EQ(batch.mode, Mode::kInference);
}

TEST(ArbitraryTest, DenseNeedsNoOffsets) {
  for (const std::vector<int64_t>& first_shape :
       {std::vector<int64_t>{0}, std::vector<int64_t>{0, 2}}) {
    EnqueueBuilder builder;
    builder.combiners = {Combiner::kMean};
    builder.Add({}, first_shape, {3, 9, 0, 3}, {});
    const Batch batch = Build(OneFeature({2, 2}), builder);
    EXPECT_EQ(batch.features[0].num_positions, 4);
    EXPECT_TRUE(batch.features[0].offsets.empty());
    EXPECT_EQ(batch.features[0].ids, (Ids{3, 9, 0, 3}));
    EXPECT_TRUE(batch.features[0].weights.empty());
    EXPECT_TRUE(batch.features[0].scales.empty());
  }
}

TEST(ArbitraryTest, NoIdsAreZerosInEveryForm) {
  const EngineConfig config = OneFeature({3});
  EnqueueBuilder dense, sparse, ragged;
  dense.Dense({});
  sparse.Add({}, {0, 2}, {}, {});
  ragged.Ragged({0, 0, 0, 0}, {});
  for (EnqueueBuilder* builder : {&dense, &sparse, &ragged}) {
    builder->combiners = {Combiner::kSqrtn};
    const Batch batch = Build(config, *builder);
    EXPECT_EQ(batch.features[0].offsets, (Ids{0, 0, 0, 0}));
    EXPECT_TRUE(batch.features[0].ids.empty());
  }
}

TEST(ArbitraryTest, SparseInAnyOrderKeepsTheOrderOfEqualPositions) {
  EnqueueBuilder builder;
  builder.Sparse({2, 0, 0, 0, 2, 5, 0, 9}, 2, {4, 5, 6, 7}, {1, 2, 3, 4});
  const Batch batch = Build(OneFeature({3}), builder);
  EXPECT_EQ(batch.features[0].offsets, (Ids{0, 2, 2, 4}));
  EXPECT_EQ(batch.features[0].ids, (Ids{5, 7, 4, 6}));
  EXPECT_EQ(batch.features[0].weights, (Floats{2, 4, 1, 3}));
}

TEST(ArbitraryTest, SparseWithOneIdEachNeedsNoOffsets) {
  EnqueueBuilder builder;
  builder.Sparse({2, 0, 0, 0, 1, 0}, 2, {4, 5, 6});
  const Batch batch = Build(OneFeature({3}), builder);
  EXPECT_TRUE(batch.features[0].offsets.empty());
  EXPECT_EQ(batch.features[0].ids, (Ids{5, 6, 4}));
}

TEST(ArbitraryTest, SparseSequenceIsCutOffInTheLastDimensionOnly) {
  EnqueueBuilder builder;  // shape [2, 2]; elements 0, 1, 2 of 0 and 1 of 1
  builder.Sparse({0, 0, 0, 0, 1, 0, 0, 2, 0, 1, 1, 0}, 3, {4, 5, 6, 7});
  const Batch batch = Build(OneFeature({2, 2}), builder);
  EXPECT_EQ(batch.features[0].offsets, (Ids{0, 1, 2, 2, 3}));
  EXPECT_EQ(batch.features[0].ids, (Ids{4, 5, 7}));

  EnqueueBuilder rows;
  rows.Sparse({2, 0, 0}, 3, {4});
  ExpectError(OneFeature({2, 2}), rows,
              "input 0 (feature 'user', table 'users'): sample index 2 in "
              "column 0 of row 0 is outside [0, 2); the input shape is [2,2].");
}

TEST(ArbitraryTest, RaggedRowsCombine) {
  EnqueueBuilder builder;
  builder.combiners = {Combiner::kMean};
  builder.Ragged({0, 2, 2, 5}, {1, 2, 3, 3, 3});
  const Batch batch = Build(OneFeature({3}), builder);
  EXPECT_EQ(batch.features[0].offsets, (Ids{0, 2, 2, 5}));
  EXPECT_EQ(batch.features[0].ids, (Ids{1, 2, 3, 3, 3}));
  EXPECT_EQ(batch.features[0].scales, (Floats{0.5f, 1.0f, 1.0f / 3.0f}));
}

TEST(ArbitraryTest, RaggedSequenceDropsWhatIsTooLongAndIgnoresWeights) {
  EnqueueBuilder builder;  // [2, 2]
  builder.combiners = {Combiner::kMean};
  builder.Ragged({0, 3, 4}, {1, 2, 3, 4}, {5, 6, 7, 8});
  const Batch batch = Build(OneFeature({2, 2}), builder);
  EXPECT_EQ(batch.features[0].offsets, (Ids{0, 1, 2, 3, 3}));
  EXPECT_EQ(batch.features[0].ids, (Ids{1, 2, 4}));
  EXPECT_TRUE(batch.features[0].weights.empty());
  EXPECT_TRUE(batch.features[0].scales.empty());
}

TEST(ArbitraryTest, SequenceOfLengthOneCombinesTheRow) {
  EnqueueBuilder builder;
  builder.Ragged({0, 2, 3}, {1, 2, 3});
  const Batch batch = Build(OneFeature({2, 1}), builder);
  EXPECT_EQ(batch.features[0].offsets, (Ids{0, 2, 3}));
}

// The edge cases of semantics 6.4, and of 3.2.
TEST(CombinerTest, ZeroDenominatorsGiveZeroButKeepTheIds) {
  for (const Combiner combiner : {Combiner::kMean, Combiner::kSqrtn}) {
    EnqueueBuilder builder;
    builder.combiners = {combiner};
    builder.Ragged({0, 2, 3}, {0, 1, 2}, {0, 0, 0});
    const Batch batch = Build(OneFeature({2}), builder);
    EXPECT_EQ(batch.features[0].ids, (Ids{0, 1, 2}));
    EXPECT_EQ(batch.features[0].scales, (Floats{0, 0}));
  }
  EnqueueBuilder mean;
  mean.combiners = {Combiner::kMean};
  mean.Ragged({0, 2}, {0, 1}, {1, -1});
  EXPECT_EQ(Build(OneFeature({1}), mean).features[0].scales, (Floats{0}));

  EnqueueBuilder sqrtn;
  sqrtn.combiners = {Combiner::kSqrtn};
  sqrtn.Ragged({0, 2}, {0, 1}, {1, -1});
  const FeatureBatch feature = Build(OneFeature({1}), sqrtn).features[0];
  EXPECT_EQ(feature.scales, (Floats{static_cast<float>(1 / std::sqrt(2.0))}));
  EXPECT_EQ(feature.weights, (Floats{1, -1}));
}

TEST(CombinerTest, OneWeightedIdIsExact) {
  EnqueueBuilder mean;
  mean.combiners = {Combiner::kMean};
  mean.Dense({0, 1}, {0.1, -7});
  EXPECT_EQ(Build(OneFeature({2}), mean).features[0].weights, (Floats{1, 1}));
  EnqueueBuilder sqrtn;
  sqrtn.combiners = {Combiner::kSqrtn};
  sqrtn.Dense({0, 1}, {0.1, -7});
  EXPECT_EQ(Build(OneFeature({2}), sqrtn).features[0].weights, (Floats{1, -1}));
}

TEST(CombinerTest, TinyAndHugeWeightsDoNotOverflow) {
  for (const double weight : {1e-44, 1e-40, 3e38}) {
    EnqueueBuilder builder;
    builder.combiners = {Combiner::kMean};
    builder.Ragged({0, 2}, {0, 1}, {weight, weight});
    const FeatureBatch feature = Build(OneFeature({1}), builder).features[0];
    EXPECT_EQ(feature.scales[0] * feature.weights[0], 0.5f) << weight;
  }
}

TEST(CombinerTest, WeightsOfOneAreDropped) {
  EnqueueBuilder builder;
  builder.combiners = {Combiner::kSqrtn};
  builder.Ragged({0, 4}, {0, 1, 2, 3}, {1, 1, 1, 1});
  const FeatureBatch feature = Build(OneFeature({1}), builder).features[0];
  EXPECT_TRUE(feature.weights.empty());
  EXPECT_EQ(feature.scales, (Floats{0.5f}));
}

TEST(CombinerTest, ListIsPerTableOrPerInput) {
  EngineConfig config;
  config.tables = {Table("a", 10), Table("b", 10)};
  config.features = {{"x", 1, {1}}, {"y", 0, {1}}, {"z", 0, {1}}};
  config = Populated(config);
  const auto scales = [&](std::vector<Combiner> combiners) {
    EnqueueBuilder builder;
    builder.combiners = std::move(combiners);
    for (int i = 0; i < 3; ++i) builder.Ragged({0, 4}, {1, 2, 3, 4});
    const Batch batch = Build(config, builder);
    Floats scales;
    for (const FeatureBatch& feature : batch.features) {
      scales.push_back(feature.scales.empty() ? 1.0f : feature.scales[0]);
    }
    return scales;
  };
  const auto sum = Combiner::kSum, mean = Combiner::kMean,
             sqrtn = Combiner::kSqrtn;
  EXPECT_EQ(scales({}), (Floats{1, 1, 1}));
  EXPECT_EQ(scales({mean, sqrtn}), (Floats{0.5f, 0.25f, 0.25f}));
  EXPECT_EQ(scales({mean, sum, sqrtn}), (Floats{0.25f, 1, 0.5f}));

  EnqueueBuilder wrong;
  wrong.combiners = {sum, sum, sum, sum};
  for (int i = 0; i < 3; ++i) wrong.Dense({});
  ExpectError(config, wrong,
              "Invalid length of combiners. Have 4 but expected 0, 2 (tables) "
              "or 3 (inputs).");
}

TEST(CombinerTest, ListOfEqualLengthsIsPerTable) {
  EngineConfig config;
  config.tables = {Table("a", 10), Table("b", 10)};
  config.features = {{"x", 1, {1}}, {"y", 0, {1}}};
  config = Populated(config);
  EnqueueBuilder builder;
  builder.combiners = {Combiner::kMean, Combiner::kSum};
  builder.Ragged({0, 2}, {1, 2}).Ragged({0, 2}, {1, 2});
  const Batch batch = Build(config, builder);
  EXPECT_TRUE(batch.features[0].scales.empty());
  EXPECT_EQ(batch.features[1].scales, (Floats{0.5f}));
}

TEST(ArbitraryTest, BadInputsAreNamed) {
  const EngineConfig config = OneFeature({2});
  const std::string label = "input 0 (feature 'user', table 'users'): ";
  const int64_t min = std::numeric_limits<int64_t>::min();
  const int64_t max = std::numeric_limits<int64_t>::max();
  for (const int64_t id : {int64_t{10}, int64_t{-1}, min, max}) {
    EnqueueBuilder builder;
    builder.Dense({1, id});
    ExpectError(config, builder,
                StrCat(label, "id ", id, " at index 1 is outside [0, 10)."));
  }
  {
    EnqueueBuilder builder;
    builder.ids_are_64_bit = false;
    builder.Dense({-5, 1});
    ExpectError(config, builder,
                label + "id -5 at index 0 is outside [0, 10).");
  }
  {
    EnqueueBuilder builder;
    builder.Dense({1, 2, 3});
    ExpectError(config, builder,
                label + "3 dense ids; the input shape [2] needs 2, or none.");
  }
  {
    EnqueueBuilder builder;
    builder.Dense({1, 2}, {1});
    ExpectError(config, builder,
                label + "1 weights for 2 ids; expected as many, or none.");
  }
  {
    EnqueueBuilder builder;
    builder.Sparse({0, 0, 0, 1, 0, 0}, 3, {1, 2});
    ExpectError(config, builder,
                label +
                    "sample indices have 3 columns, but the input shape [2] "
                    "needs 2.");
  }
  {
    EnqueueBuilder builder;
    builder.Sparse({0, 0, 1, 0}, 2, {1, 2, 3});
    ExpectError(config, builder, label + "2 sample indices for 3 ids.");
  }
  for (const int64_t index : {int64_t{2}, int64_t{-1}, max, min}) {
    EnqueueBuilder builder;
    builder.indices_are_64_bit = true;
    builder.Sparse({0, 0, index, 0}, 2, {1, 2});
    ExpectError(config, builder,
                StrCat(label, "sample index ", index,
                       " in column 0 of row 1 is outside [0, 2); the input "
                       "shape is [2]."));
  }
  {
    EnqueueBuilder builder;
    builder.Ragged({1, 1, 2}, {1, 2});
    ExpectError(config, builder,
                label + "row splits begin with 1 instead of 0.");
  }
  {
    EnqueueBuilder builder;
    builder.Ragged({0, 2, 1}, {1});
    ExpectError(config, builder,
                label + "row splits decrease from 2 to 1 at index 2.");
  }
  {
    EnqueueBuilder builder;
    builder.Ragged({0, 1, 1}, {1, 2});
    ExpectError(config, builder,
                label + "row splits end with 1, but there are 2 ids.");
  }
  for (const int64_t rows : {0, 3, 4}) {
    EnqueueBuilder builder;
    builder.Ragged(Ids(rows + 1, 0), {});
    ExpectError(config, builder,
                StrCat(label, rows,
                       " ragged rows; the input shape [2] needs 2 or a "
                       "divisor of it."));
  }
  {
    EnqueueBuilder builder;
    builder.Add({0, 0}, {1, 2, 1}, {1}, {});
    ExpectError(config, builder,
                label +
                    "sample indices or row splits must have rank 2 or 1, not "
                    "3.");
  }
  {
    EnqueueBuilder builder;
    builder.Dense({1, 2}).Dense({1, 2});
    ExpectError(config, builder,
                "Expected 1 inputs, one per feature, but got 2.");
  }
}

TEST(ArbitraryTest, WrongTypesAndRanksAreNamed) {
  const EngineConfig config = OneFeature({2});
  const std::string label = "input 0 (feature 'user', table 'users'): ";
  const int64_t matrix[] = {1, 2};
  {
    EnqueueBuilder builder;
    builder.Dense({1, 2});
    builder.input(0).ids.shape = matrix;
    ExpectError(config, builder, label + "ids must have rank 1, not 2.");
  }
  {
    EnqueueBuilder builder;
    builder.Dense({1, 2}, {1, 2});
    builder.input(0).weights.shape = matrix;
    ExpectError(config, builder, label + "weights must have rank 1, not 2.");
  }
  {
    EnqueueBuilder builder;
    builder.Dense({1, 2}, {1, 2});
    builder.input(0).weights.type = ArrayView::Type::kInt32;
    ExpectError(config, builder, label + "weights must be float32 or float64.");
  }
  {
    EnqueueBuilder builder;
    builder.Dense({1, 2});
    builder.input(0).ids.type = ArrayView::Type::kFloat32;
    ExpectError(config, builder, label + "ids must be int32 or int64.");
  }
  {
    EnqueueBuilder builder;
    builder.Ragged({0, 1, 2}, {1, 2});
    builder.input(0).indices_or_splits.type = ArrayView::Type::kFloat64;
    ExpectError(config, builder,
                label + "sample indices or row splits must be int32 or int64.");
  }
}

TEST(ArbitraryTest, NegativeIdsArePrunedOnRequest) {
  const EngineConfig config = OneFeature({3});
  const BatchOptions prune{true};
  EnqueueBuilder ragged;
  ragged.combiners = {Combiner::kMean};
  ragged.Ragged({0, 2, 3, 5}, {-1, 1, -2, 3, 4});
  const Batch batch = Build(config, ragged, prune);
  EXPECT_EQ(batch.features[0].negative_ids_pruned, 2);
  EXPECT_EQ(batch.features[0].offsets, (Ids{0, 1, 1, 3}));
  EXPECT_EQ(batch.features[0].ids, (Ids{1, 3, 4}));
  EXPECT_EQ(batch.features[0].scales, (Floats{1, 1, 0.5f}));

  EnqueueBuilder dense;
  dense.Dense({5, -1, 6});
  EXPECT_EQ(Build(config, dense, prune).features[0].offsets, (Ids{0, 1, 1, 2}));

  EnqueueBuilder bad;
  bad.Dense({-1, 10, 3});
  ExpectError(config, bad,
              "input 0 (feature 'user', table 'users'): id 10 at index 1 is "
              "outside [0, 10).",
              prune);
}

TEST(TableFormTest, IntegerBatchHasOneIdPerPosition) {
  EnqueueBuilder builder(EnqueueForm::kInteger);
  builder.ids_are_64_bit = false;
  builder.Dense({1, 2, 3, 4, 5, 6}).Dense({0, 4});
  const Batch batch = Build(TwoTables(), builder);
  EXPECT_EQ(batch.features[0].ids, (Ids{1, 2, 3, 4, 5, 6}));
  EXPECT_TRUE(batch.features[0].offsets.empty());
  EXPECT_EQ(batch.features[1].ids, (Ids{0, 4}));

  EnqueueBuilder shorter(EnqueueForm::kInteger);
  shorter.Dense({1, 2, 3, 4, 5, 6}).Dense({0});
  ExpectError(TwoTables(), shorter,
              "input 1 (table 'b'): 1 ids, one per sample; expected 2.");
  EnqueueBuilder fewer(EnqueueForm::kInteger);
  fewer.Dense({1, 2, 3, 4, 5, 6});
  ExpectError(TwoTables(), fewer,
              "Expected 2 inputs, one per table, but got 1.");
}

TEST(TableFormTest, IntegerBatchHasNoOtherArrays) {
  EnqueueBuilder builder(EnqueueForm::kInteger);
  builder.Dense({1, 2, 3, 4, 5, 6}).Dense({0, 4});
  for (int i = 0; i < 2; ++i) {
    builder.input(i).indices_or_splits = ArrayView();
    builder.input(i).weights = ArrayView();
  }
  EXPECT_EQ(Build(TwoTables(), builder).features[1].ids, (Ids{0, 4}));
}

TEST(TableFormTest, SparseBatchIndexIsThePosition) {
  EnqueueBuilder builder(EnqueueForm::kSparse);
  builder.combiners = {Combiner::kMean, Combiner::kSum};
  builder.Ragged({4, 0, 4}, {7, 8, 9}).Ragged({}, {});
  const Batch batch = Build(TwoTables(), builder);
  EXPECT_EQ(batch.features[0].offsets, (Ids{0, 1, 1, 1, 1, 3, 3}));
  EXPECT_EQ(batch.features[0].ids, (Ids{8, 7, 9}));
  EXPECT_EQ(batch.features[0].scales[4], 0.5f);
  EXPECT_EQ(batch.features[1].offsets, (Ids{0, 0, 0}));

  EnqueueBuilder outside(EnqueueForm::kSparse);
  outside.Ragged({}, {}).Ragged({2}, {1});
  ExpectError(TwoTables(), outside,
              "input 1 (table 'b'): sample index 2 at index 0 is outside "
              "[0, 2).");
  EnqueueBuilder rank(EnqueueForm::kSparse);
  rank.Sparse({0, 0}, 2, {1}).Ragged({}, {});
  ExpectError(TwoTables(), rank,
              "input 0 (table 'a'): sample indices must have rank 1, not 2.");
  EnqueueBuilder lengths(EnqueueForm::kSparse);
  lengths.Ragged({0}, {1, 2}).Ragged({}, {});
  ExpectError(TwoTables(), lengths,
              "input 0 (table 'a'): 1 sample indices for 2 ids.");
}

TEST(TableFormTest, SparseTensorsTakeSlotsInTheirOrder) {
  // Table a has 3 features: an ordinary one, then a sequence of length 2.
  EnqueueBuilder builder(EnqueueForm::kSparseTensor);
  builder.table_ids = {0, 1, 0};
  builder.max_sequence_lengths = {0, 0, 2};
  builder.combiners = {Combiner::kMean, Combiner::kSum};
  builder
      .Ragged({1, 1}, {1, 3}, {1, 3})   // example 1, slot 0
      .Sparse({0, 0, 1, 0}, 2, {4, 2})  // table b
      .Sparse({0, 1, 0, 2, 1, 0}, 2, {5, 6, 7}, {9, 9, 9});
  const Batch batch = Build(TwoTables(), builder);
  // Positions of a: (b, slot) = 00 01 02 10 11 12
  EXPECT_EQ(batch.features[0].offsets, (Ids{0, 0, 0, 1, 3, 4, 4}));
  EXPECT_EQ(batch.features[0].ids, (Ids{5, 1, 3, 7}));
  EXPECT_EQ(batch.features[0].weights, (Floats{1, 1, 3, 1}));
  EXPECT_EQ(batch.features[0].scales, (Floats{1, 1, 1, 0.25f, 1, 1}));
  EXPECT_EQ(batch.features[1].ids, (Ids{4, 2}));
}

TEST(TableFormTest, NumFeaturesAreRowsPerExample) {
  EnqueueBuilder builder(EnqueueForm::kRagged);
  builder.table_ids = {0, 0, 1};
  builder.num_features = {1, 2, 1};
  builder
      .Ragged({0, 1, 2}, {0, 1})              // slot 0
      .Ragged({0, 1, 1, 2, 4}, {2, 3, 4, 5})  // slots 1 and 2
      .Ragged({0, 0, 0}, {});
  const Batch batch = Build(TwoTables(), builder);
  EXPECT_EQ(batch.features[0].offsets, (Ids{0, 1, 2, 2, 3, 4, 6}));
  EXPECT_EQ(batch.features[0].ids, (Ids{0, 2, 1, 3, 4, 5}));
}

TEST(TableFormTest, EmptyIndicesAreDense) {
  EnqueueBuilder builder(EnqueueForm::kSparseTensor);
  builder.table_ids = {0, 1};
  builder.num_features = {3, 1};
  builder.Dense({0, 1, 2, 3, 4, 5}).Add({}, {0, 2}, {3, 4}, {});
  const Batch batch = Build(TwoTables(), builder);
  EXPECT_EQ(batch.features[0].ids, (Ids{0, 1, 2, 3, 4, 5}));
  EXPECT_TRUE(batch.features[0].offsets.empty());
  EXPECT_EQ(batch.features[1].ids, (Ids{3, 4}));
}

TEST(TableFormTest, BadAttributesAreNamed) {
  const EngineConfig config = TwoTables();
  const auto expect = [&](Ids table_ids, Ids lengths, Ids num_features,
                          const std::string& message) {
    EnqueueBuilder builder(EnqueueForm::kSparseTensor);
    builder.table_ids = std::move(table_ids);
    builder.max_sequence_lengths = std::move(lengths);
    builder.num_features = std::move(num_features);
    builder.Sparse({}, 2, {}).Sparse({}, 2, {});
    ExpectError(config, builder, message);
  };
  expect({0}, {}, {},
         "Invalid length of table_ids. Have 1 but expected 2 (inputs).");
  expect({0, 1}, {1}, {},
         "Invalid length of max_sequence_lengths. Have 1 but expected 0 or 2 "
         "(inputs).");
  expect({0, 1}, {}, {1, 1, 1},
         "Invalid length of num_features. Have 3 but expected 0 or 2 "
         "(inputs).");
  expect({2, 1}, {}, {}, "input 0: table_id 2 is outside [0, 2).");
  expect({-1, 1}, {}, {}, "input 0: table_id -1 is outside [0, 2).");
  expect({0, 1}, {-1, 0}, {},
         "input 0 (table 'a'): max_sequence_length -1 is negative.");
  expect({0, 1}, {}, {0, 1},
         "input 0 (table 'a'): num_features 0 is less than 1.");
  expect({0, 1}, {3, 0}, {3, 1},
         "input 0 (table 'a'): has both max_sequence_length 3 and "
         "num_features 3; one of them must be left out.");
  expect({0, 1}, {4, 0}, {},
         "input 0 (table 'a'): takes 4 features of its table, which has only "
         "3 of 3 left.");
  expect({0, 1}, {}, {2, 1},
         "The inputs of table 'a' take 2 of its 3 features.");
  expect({1, 1}, {}, {},
         "input 1 (table 'b'): takes 1 features of its table, which has only "
         "0 of 1 left.");
}

TEST(TableFormTest, BadTensorsAreNamed) {
  const EngineConfig config = TwoTables();
  const auto expect = [&](EnqueueForm form, bool sequence, Ids first,
                          Ids first_shape, Ids ids,
                          const std::string& message) {
    EnqueueBuilder builder(form);
    builder.table_ids = {0};
    builder.max_sequence_lengths = {sequence ? 3 : 0};
    builder.num_features = {sequence ? 1 : 3};
    builder.Add(first, first_shape, ids, {});
    ExpectError(config, builder, "input 0 (table 'a'): " + message);
  };
  const auto sparse = EnqueueForm::kSparseTensor;
  const auto ragged = EnqueueForm::kRagged;
  expect(sparse, true, {0}, {1}, {1},
         "sample indices have 1 columns; a sequence needs 2, sample and "
         "element.");
  expect(sparse, false, {0, 0, 0}, {1, 3}, {1},
         "sample indices have 3 columns; expected 1 or 2.");
  expect(sparse, true, {0, -1}, {1, 2}, {1},
         "sequence index -1 at index 0 is negative.");
  expect(sparse, true, {2, 0}, {1, 2}, {1},
         "sample index 2 at index 0 is outside [0, 2).");
  expect(sparse, false, {6}, {1}, {1},
         "sample index 6 at index 0 is outside [0, 6).");
  expect(sparse, false, {}, {0}, {1, 2},
         "2 ids, one per sample; expected 6 or none.");
  expect(sparse, false, {0}, {1, 1, 1}, {1},
         "sample indices must have rank 1 or 2, not 3.");
  expect(ragged, true, {0, 1}, {2}, {1}, "1 ragged rows; expected 2.");
  expect(ragged, false, {}, {0}, {},
         "row splits are empty; even no row has one, 0.");
  expect(ragged, false, {0, 1}, {1, 2}, {1},
         "row splits must be int32 or int64 of rank 1.");
  expect(ragged, false, {0, 1}, {2}, {10},
         "id 10 at index 0 is outside [0, 10).");
}

TEST(TableFormTest, NeedsTheTableDialect) {
  for (const EnqueueForm form :
       {EnqueueForm::kInteger, EnqueueForm::kSparse, EnqueueForm::kSparseTensor,
        EnqueueForm::kRagged}) {
    EnqueueBuilder builder(form);
    builder.table_ids = {0};
    builder.Dense({1, 2});
    ExpectError(OneFeature({2}), builder,
                "This enqueue op fills whole tables, but the TPU embedding "
                "configuration has feature descriptors; use "
                "EnqueueTPUEmbeddingArbitraryTensorBatch.");
  }
}

TEST(TableFormTest, ArbitraryServesTheTableDialectToo) {
  EnqueueBuilder builder;
  builder.Dense({0, 1, 2, 3, 4, 5}).Ragged({0, 1, 2}, {3, 4});
  const Batch batch = Build(TwoTables(), builder);
  EXPECT_EQ(batch.features[1].ids, (Ids{3, 4}));
}

}  // namespace
}  // namespace tf_embed
