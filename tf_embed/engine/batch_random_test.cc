// BuildBatch against a slow, obvious reading of the specification.

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tf_embed/engine/batch.h"
#include "tf_embed/engine/enqueue_builder.h"

namespace tf_embed {
namespace {

constexpr float kEpsilon = std::numeric_limits<float>::epsilon();

struct Contribution {
  int64_t id;
  double weight;
};
// What each position of a feature combines.
struct Expected {
  explicit Expected(int64_t num_positions)
      : positions(num_positions), combiners(num_positions) {}
  std::vector<std::vector<Contribution>> positions;
  std::vector<Combiner> combiners;  // per position
};

void CombineSlowly(Expected& expected) {
  for (size_t p = 0; p < expected.positions.size(); ++p) {
    double sum = 0;
    double sum_of_squares = 0;
    for (const Contribution& c : expected.positions[p]) {
      sum += c.weight;
      sum_of_squares += c.weight * c.weight;
    }
    for (Contribution& c : expected.positions[p]) {
      const double denominator = expected.combiners[p] == Combiner::kSum ? 1
                                 : expected.combiners[p] == Combiner::kMean
                                     ? sum
                                     : std::sqrt(sum_of_squares);
      c.weight = denominator == 0 ? 0 : c.weight / denominator;
    }
  }
}

void ExpectSame(const Expected& expected, const FeatureBatch& actual) {
  const PooledIds ids = actual.view();
  ASSERT_EQ(ids.num_positions, static_cast<int64_t>(expected.positions.size()));
  int64_t num_ids = 0;
  for (int64_t p = 0; p < ids.num_positions; ++p) {
    const int64_t begin = ids.offsets.empty() ? p : ids.offsets[p];
    const int64_t end = ids.offsets.empty() ? p + 1 : ids.offsets[p + 1];
    const auto& want = expected.positions[p];
    ASSERT_EQ(end - begin, static_cast<int64_t>(want.size())) << "at " << p;
    for (int64_t j = begin; j < end; ++j) {
      EXPECT_EQ(ids.ids[j], want[j - begin].id);
      const float weight = ids.weights.empty() ? 1.0f : ids.weights[j];
      const float scale = ids.scales.empty() ? 1.0f : ids.scales[p];
      // The scale, the float weight and their product are rounded.
      EXPECT_NEAR(weight * scale, want[j - begin].weight,
                  3 * kEpsilon * std::abs(want[j - begin].weight));
    }
    num_ids += end - begin;
  }
  EXPECT_EQ(ids.ids.size(), static_cast<size_t>(num_ids));
}

class RandomBatch {
 public:
  explicit RandomBatch(uint64_t seed) : random_(seed) {}

  int64_t Number(int64_t limit) { return random_() % limit; }
  bool Coin() { return random_() % 2 == 0; }
  Combiner AnyCombiner() { return static_cast<Combiner>(random_() % 3); }
  std::vector<int64_t> SomeIds(int64_t n, int64_t vocabulary_size) {
    std::vector<int64_t> ids(n);
    for (int64_t& id : ids) {
      id = Number(vocabulary_size);
      if (prune && Number(4) == 0) id = -1 - id;
    }
    return ids;
  }
  // Multiples of 1/2, so that they are floats and some sums are 0.
  std::vector<double> SomeWeights(int64_t n) {
    std::vector<double> weights;
    if (Coin()) return weights;
    for (int64_t i = 0; i < n; ++i) weights.push_back((Number(9) - 4) / 2.0);
    return weights;
  }
  std::vector<int64_t> SomeSplits(int64_t rows) {
    std::vector<int64_t> splits = {0};
    for (int64_t r = 0; r < rows; ++r) {
      splits.push_back(splits.back() + Number(5));
    }
    return splits;
  }
  void SomeTypes(EnqueueBuilder& builder) {
    builder.indices_are_64_bit = Coin();
    builder.ids_are_64_bit = Coin();
    builder.weights_are_64_bit = Coin();
  }

  bool prune = false;

 private:
  std::mt19937_64 random_;
};

double WeightAt(const std::vector<double>& weights, size_t i) {
  return weights.empty() ? 1.0 : weights[i];
}

void Place(Expected& expected, int64_t position, int64_t id, double weight) {
  if (id >= 0) expected.positions[position].push_back({id, weight});
}

void AddArbitrary(RandomBatch& random, const EngineConfig& config, int f,
                  Combiner combiner, EnqueueBuilder& builder,
                  std::vector<Expected>& expected) {
  const FeatureConfig& feature = config.features[f];
  const int64_t vocabulary_size =
      config.tables[feature.table_id].vocabulary_size;
  const int64_t num_positions = feature.num_positions();
  Expected want(num_positions);
  want.combiners.assign(num_positions, combiner);
  random.SomeTypes(builder);
  switch (random.Number(3)) {
    case 0: {
      const auto ids = random.SomeIds(random.Number(8) == 0 ? 0 : num_positions,
                                      vocabulary_size);
      const auto weights = random.SomeWeights(ids.size());
      builder.Dense(ids, weights);
      for (size_t i = 0; i < ids.size(); ++i) {
        Place(want, i, ids[i], WeightAt(weights, i));
      }
      break;
    }
    case 1: {
      const size_t rank = feature.input_shape.size();
      const int64_t nnz = random.Number(3 * num_positions + 1);
      const auto ids = random.SomeIds(nnz, vocabulary_size);
      const auto weights = random.SomeWeights(nnz);
      const bool too_long = rank > 1 && random.Coin();
      std::vector<int64_t> coordinates;
      for (int64_t i = 0; i < nnz; ++i) {
        int64_t position = 0;
        bool dropped = false;
        for (size_t axis = 0; axis < rank; ++axis) {
          const int64_t size = feature.input_shape[axis];
          const int64_t c =
              random.Number(size + (too_long && axis + 1 == rank ? 2 : 0));
          dropped |= c >= size;
          position = position * size + c;
          coordinates.push_back(c);
        }
        coordinates.push_back(random.Number(100));
        if (!dropped) Place(want, position, ids[i], WeightAt(weights, i));
      }
      if (nnz == 0) {
        builder.Add({}, {0, static_cast<int64_t>(rank) + 1}, {}, {});
      } else {
        builder.Sparse(coordinates, rank + 1, ids, weights);
      }
      break;
    }
    default: {
      int64_t rows = num_positions;
      if (random.Coin()) {
        do {
          rows = 1 + random.Number(num_positions);
        } while (num_positions % rows != 0);
      }
      const int64_t length = num_positions / rows;
      const auto splits = random.SomeSplits(rows);
      const auto ids = random.SomeIds(splits.back(), vocabulary_size);
      const auto weights = random.SomeWeights(ids.size());
      builder.Ragged(splits, ids, weights);
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t i = splits[row]; i < splits[row + 1]; ++i) {
          const int64_t j = i - splits[row];
          if (length == 1) {
            Place(want, row, ids[i], WeightAt(weights, i));
          } else if (j < length) {
            Place(want, row * length + j, ids[i], 1.0);
          }
        }
      }
      if (length > 1) want.combiners.assign(num_positions, Combiner::kSum);
    }
  }
  CombineSlowly(want);
  expected.push_back(std::move(want));
}

TEST(BatchRandomTest, ArbitraryAgreesWithTheSpecification) {
  Batch batch;  // one for all: nothing of the last may be left
  for (int seed = 0; seed < 3000; ++seed) {
    SCOPED_TRACE(seed);
    RandomBatch random(seed);
    random.prune = random.Number(3) == 0;
    EngineConfig config;
    config.mode = Mode::kTraining;
    const int num_tables = 1 + random.Number(3);
    const int num_features = num_tables + random.Number(3);
    for (int t = 0; t < num_tables; ++t) {
      TableConfig table;
      table.name = StrCat("t", t);
      table.vocabulary_size = 1 + random.Number(20);
      table.dimension = 1;
      table.optimizer.params = SgdParams{};
      config.tables.push_back(table);
    }
    for (int f = 0; f < num_features; ++f) {
      FeatureConfig feature{"f", f % num_tables, {}};
      const int rank = 1 + random.Number(3);
      for (int i = 0; i < rank; ++i) {
        feature.input_shape.push_back(1 + random.Number(5));
      }
      config.features.push_back(feature);
    }
    ASSERT_TRUE(Populate(config).ok());

    EnqueueBuilder builder;
    const int list = random.Number(3);
    const bool per_table = list == 1 || num_tables == num_features;
    const int list_size = list == 0 ? 0 : per_table ? num_tables : num_features;
    for (int i = 0; i < list_size; ++i) {
      builder.combiners.push_back(random.AnyCombiner());
    }
    std::vector<Expected> expected;
    for (int f = 0; f < num_features; ++f) {
      const Combiner combiner =
          list == 0 ? Combiner::kSum
                    : builder.combiners[per_table ? f % num_tables : f];
      AddArbitrary(random, config, f, combiner, builder, expected);
    }
    const Status status = BuildBatch(config, builder.Build(), Mode::kTraining,
                                     {random.prune}, batch);
    ASSERT_TRUE(status.ok()) << status.message();
    for (int f = 0; f < num_features; ++f) {
      SCOPED_TRACE(f);
      ExpectSame(expected[f], batch.features[f]);
    }
  }
}

// SparseTensorBatch and RaggedTensorBatch with slots, sequences, num_features.
TEST(BatchRandomTest, TensorFormsAgreeWithTheSpecification) {
  Batch batch;  // one for all: nothing of the last may be left
  for (int seed = 0; seed < 3000; ++seed) {
    SCOPED_TRACE(seed);
    RandomBatch random(seed);
    random.prune = random.Number(3) == 0;
    const bool ragged = random.Coin();
    const int num_tables = 1 + random.Number(3);
    const int64_t batch_size = 1 + random.Number(5);
    EnqueueBuilder builder(ragged ? EnqueueForm::kRagged
                                  : EnqueueForm::kSparseTensor);
    EngineConfig config;
    config.mode = Mode::kTraining;
    config.batch_size_per_tensor_core = batch_size;
    for (int t = 0; t < num_tables; ++t) {
      TableConfig table;
      table.name = StrCat("t", t);
      table.vocabulary_size = 1 + random.Number(20);
      table.dimension = 1;
      table.optimizer.params = SgdParams{};
      config.tables.push_back(table);
    }
    const int num_inputs = num_tables + random.Number(4);
    std::vector<int64_t> first_slot;
    std::vector<int64_t> widths;
    for (int i = 0; i < num_inputs; ++i) {
      const int t = i < num_tables ? i : random.Number(num_tables);
      const bool sequence = random.Number(3) == 0;
      const int64_t width = 1 + random.Number(3);
      builder.table_ids.push_back(t);
      builder.max_sequence_lengths.push_back(sequence ? width : 0);
      builder.num_features.push_back(sequence ? 1 : width);
      first_slot.push_back(config.tables[t].num_features);
      widths.push_back(width);
      config.tables[t].num_features += width;
    }
    ASSERT_TRUE(Populate(config).ok());
    const int list = random.Number(3);
    const bool per_table = list == 1 || num_tables == num_inputs;
    const int list_size = list == 0 ? 0 : per_table ? num_tables : num_inputs;
    for (int i = 0; i < list_size; ++i) {
      builder.combiners.push_back(random.AnyCombiner());
    }
    std::vector<Expected> expected;
    for (const FeatureConfig& feature : config.features) {
      expected.emplace_back(feature.num_positions());
    }
    for (int i = 0; i < num_inputs; ++i) {
      const int t = builder.table_ids[i];
      const TableConfig& table = config.tables[t];
      const bool sequence = builder.max_sequence_lengths[i] > 0;
      const int64_t m = sequence ? 1 : widths[i];
      const Combiner combiner = list == 0 || sequence
                                    ? Combiner::kSum
                                    : builder.combiners[per_table ? t : i];
      for (int64_t b = 0; b < batch_size; ++b) {
        for (int64_t s = 0; s < widths[i]; ++s) {
          expected[t].combiners[b * table.num_features + first_slot[i] + s] =
              combiner;
        }
      }
      const auto place = [&](int64_t sample, int64_t element, int64_t id,
                             double weight) {
        if (sequence && element >= widths[i]) return;
        const int64_t slot = first_slot[i] + (sequence ? element : sample % m);
        Place(expected[t], sample / m * table.num_features + slot, id,
              sequence ? 1.0 : weight);
      };
      random.SomeTypes(builder);
      const int64_t samples = batch_size * m;
      if (ragged) {
        const auto splits = random.SomeSplits(samples);
        const auto ids = random.SomeIds(splits.back(), table.vocabulary_size);
        const auto weights = random.SomeWeights(ids.size());
        builder.Ragged(splits, ids, weights);
        for (int64_t row = 0; row < samples; ++row) {
          for (int64_t k = splits[row]; k < splits[row + 1]; ++k) {
            place(row, k - splits[row], ids[k], WeightAt(weights, k));
          }
        }
        continue;
      }
      const bool dense = random.Number(4) == 0;
      const int64_t nnz = dense ? samples : random.Number(3 * samples + 1);
      const auto ids = random.SomeIds(nnz, table.vocabulary_size);
      const auto weights = random.SomeWeights(nnz);
      std::vector<int64_t> indices;
      const bool two_columns = sequence || random.Coin();
      for (int64_t k = 0; k < nnz; ++k) {
        const int64_t sample = dense ? k : random.Number(samples);
        const int64_t element = dense ? 0 : random.Number(5);
        if (!dense) {
          indices.push_back(sample);
          if (two_columns) indices.push_back(element);
        }
        place(sample, element, ids[k], WeightAt(weights, k));
      }
      if (dense || nnz == 0) {
        builder.Dense(ids, weights);
      } else if (two_columns) {
        builder.Sparse(indices, 2, ids, weights);
      } else {
        builder.Ragged(indices, ids, weights);
      }
    }
    const Status status = BuildBatch(config, builder.Build(), Mode::kTraining,
                                     {random.prune}, batch);
    ASSERT_TRUE(status.ok()) << status.message();
    for (int t = 0; t < num_tables; ++t) {
      SCOPED_TRACE(t);
      CombineSlowly(expected[t]);
      ExpectSame(expected[t], batch.features[t]);
    }
  }
}

// Whatever the arrays hold, BuildBatch answers OK or InvalidArgument, and what
// it accepts is consistent. (Run under the address sanitizer.)
TEST(BatchRandomTest, GarbageIsRefusedOrConsistent) {
  int accepted = 0;
  Batch batch;  // one for all: nothing of the last may be left
  for (int seed = 0; seed < 20000; ++seed) {
    SCOPED_TRACE(seed);
    RandomBatch random(seed);
    const auto form = static_cast<EnqueueForm>(random.Number(5));
    EngineConfig config;
    config.mode = Mode::kTraining;
    TableConfig table;
    table.name = "t";
    table.vocabulary_size = 4;
    table.dimension = 1;
    table.num_features = 1;
    table.optimizer.params = SgdParams{};
    config.tables = {table};
    config.batch_size_per_tensor_core = 2;
    ASSERT_TRUE(Populate(config).ok());
    EnqueueBuilder builder(form);
    random.SomeTypes(builder);
    if (form == EnqueueForm::kSparseTensor || form == EnqueueForm::kRagged) {
      builder.table_ids = {random.Number(8) == 0 ? random.Number(3) - 1 : 0};
    }
    const int64_t n = random.Number(4);
    std::vector<int64_t> ids, first;
    for (int64_t i = 0; i < n; ++i) {
      ids.push_back(random.Number(24) == 0 ? random.Number(9) - 3
                                           : random.Number(4));
    }
    const int64_t rank =
        random.Number(16) == 0 ? random.Number(4) : 1 + random.Number(2);
    std::vector<int64_t> shape;
    int64_t size = 1;
    for (int64_t i = 0; i < rank; ++i) {
      shape.push_back(i == 0 && random.Coin() ? n : random.Number(4));
      size *= shape.back();
    }
    for (int64_t i = 0; i < size; ++i) first.push_back(random.Number(5) - 1);
    if (rank == 1 && random.Coin() && !first.empty()) {
      for (size_t i = 0; i < first.size(); ++i) first[i] = i;
    }
    builder.Add(first, shape, ids, {});
    const Status status = BuildBatch(config, builder.Build(), Mode::kTraining,
                                     {random.Coin()}, batch);
    if (!status.ok()) {
      EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
      continue;
    }
    ++accepted;
    const FeatureBatch& feature = batch.features[0];
    ASSERT_EQ(feature.num_positions, 2);
    if (feature.offsets.empty()) {
      ASSERT_EQ(feature.ids.size(), 2u);
    } else {
      ASSERT_EQ(feature.offsets.size(), 3u);
      EXPECT_EQ(feature.offsets[0], 0);
      EXPECT_LE(feature.offsets[0], feature.offsets[1]);
      EXPECT_LE(feature.offsets[1], feature.offsets[2]);
      EXPECT_EQ(feature.offsets[2], static_cast<int64_t>(feature.ids.size()));
    }
    for (const int64_t id : feature.ids) {
      EXPECT_GE(id, 0);
      EXPECT_LT(id, 4);
    }
  }
  EXPECT_GT(accepted, 1000);
}

}  // namespace
}  // namespace tf_embed
