// Whole training runs against slow references: random configurations, inputs,
// numbers of cores, dialects and optimizers.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tf_embed/base/thread_pool.h"
#include "tf_embed/engine/engine.h"
#include "tf_embed/engine/engine_testing.h"
#include "tf_embed/optimizers/optimizers_ref.h"

namespace tf_embed {
namespace {

constexpr double kEpsilon = std::numeric_limits<float>::epsilon();

std::vector<OptimizerParams> AllOptimizers() {
  FrequencyAwareAdagradParams frequency_aware{0.01f, 0.02f, 3,
                                              0.5f,  0.9f,  0.1f};
  return {SgdParams{},
          AdagradParams{},
          AdagradMomentumParams{0.9f, true, 2, 1, 1e-6f},
          BoundedAdagradParams{true, 0.5f, 10},
          frequency_aware,
          FtrlParams{0.01f, 0.02f, -0.5f, 0.1f, false},
          AdamParams{0.9f, 0.99f, 1e-3f, false, true},
          AdamParams{0.9f, 0.99f, 1e-3f, true, false},
          MomentumParams{0.9f, true},
          LionParams{0.9f, 0.99f, false},
          LionParams{0.9f, 0.99f, true},
          RmsPropParams{0.9f, 0.5f, 0.1f},
          CenteredRmsPropParams{0.9f, 0.5f, 1},
          AdadeltaParams{0.9f, 0.1f},
          ProximalAdagradParams{0.01f, 0.02f},
          OnlineYogiParams{0.01f, 0.02f, 0.9f},
          ProximalYogiParams{0.01f, 0.02f, 0.9f, 0.99f, 0.1f},
          AssignParams{}};
}

// The smooth ones: a small error of the gradient stays small.
std::vector<OptimizerParams> SmoothOptimizers() {
  return {SgdParams{},
          AdagradParams{},
          AdagradMomentumParams{0.9f, true, 2, 1, 1e-2f},
          AdamParams{0.9f, 0.99f, 0.1f, false, true},
          AdamParams{0.9f, 0.99f, 0.1f, true, false},
          MomentumParams{0.9f, false},
          RmsPropParams{0.9f, 0.5f, 0.1f},
          AdadeltaParams{0.9f, 0.1f},
          AssignParams{}};
}

// One id at a position of a feature, in the order of the input.
struct Entry {
  int64_t position;
  int64_t id;
  double weight;
};

// One core's input of a step.
struct CoreInput {
  std::vector<std::vector<Entry>> features;  // by position
  std::vector<Matrix> gradients;
};

class Trainer {
 public:
  // exact: sums of gradients have no rounding, in whatever order.
  Trainer(int seed, bool exact, const std::vector<OptimizerParams>& optimizers)
      : random_(seed), exact_(exact) {
    config_.mode = Mode::kTraining;
    config_.num_tensor_cores = 1 + Number(8);
    config_.sharding_strategy =
        Number(2) ? ShardingStrategy::kMod : ShardingStrategy::kDiv;
    table_dialect_ = Number(2);
    const int num_tables = 1 + Number(3);
    int num_tags = 0;
    for (int t = 0; t < num_tables; ++t) {
      TableConfig table;
      table.name = StrCat("t", t);
      table.vocabulary_size = 1 + Number(12);
      table.dimension = 1 + Number(9);
      if (table_dialect_) table.num_features = 1 + Number(3);
      table.optimizer.params = optimizers[Number(optimizers.size())];
      if (Number(2)) {
        table.optimizer.learning_rate = {true, 0, num_tags++};
      } else {
        table.optimizer.learning_rate.constant = 0.25f;
      }
      if (auto* params = std::get_if<FrequencyAwareAdagradParams>(
              &table.optimizer.params)) {
        params->step_counter_tag = num_tags++;
      }
      if (Number(3) == 0) table.optimizer.weight_decay_factor = 0.125f;
      if (Number(3) == 0) {
        table.optimizer.gradient_clipping_limits = {-2.0f, 3.0f};
      }
      config_.tables.push_back(table);
      combiners_.push_back(exact ? Combiner::kSum
                                 : static_cast<Combiner>(Number(3)));
    }
    if (table_dialect_) {
      config_.batch_size_per_tensor_core = 1 + Number(4);
    } else {
      const int num_features = num_tables + Number(3);
      for (int f = 0; f < num_features; ++f) {
        config_.features.push_back(
            {StrCat("f", f), f % num_tables, {1 + Number(4), 1 + Number(3)}});
      }
    }
    EXPECT_TRUE(Populate(config_).ok());
    for (const TableConfig& table : config_.tables) {
      optimizers_.push_back(*Optimizer::Create(table.optimizer));
    }
    // The engine populates on its own.
    EngineConfig raw = config_;
    if (table_dialect_) {
      raw.features.clear();
    } else {
      raw.batch_size_per_tensor_core = 0;
      for (TableConfig& table : raw.tables) table.num_features = 0;
    }
    engine_ = MakeEngine(raw);
  }

  // Random parameters, the slots as they are.
  void LoadRandom() {
    for (size_t t = 0; t < config_.tables.size(); ++t) {
      std::vector<Matrix> variables = RetrieveTable(*engine_, t);
      for (float& value : variables[0]) value = (Number(65) - 32) / 32.0f;
      ASSERT_TRUE(LoadShard(*engine_, t, {}, config_.tables[t].vocabulary_size,
                            variables)
                      .ok());
    }
  }

  // Runs one step and checks it.
  void Step(Executor& executor) {
    const int num_cores = config_.num_tensor_cores;
    std::vector<std::vector<Matrix>> before = Tables();
    std::vector<CoreInput> inputs(num_cores);
    for (int core = 0; core < num_cores; ++core) {
      MakeInput(inputs[core]);
      Enqueue(core, inputs[core]);
    }
    std::vector<float> rates(NumLearningRateTags(config_));
    for (float& rate : rates) rate = (1 + Number(8)) / 16.0f;
    std::vector<int> order(num_cores);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random_);
    for (const int core : order) {
      StatusOr<ReceivedBatches> batches = Receive(*engine_, CoreRange{core, 1});
      ASSERT_TRUE(batches.ok()) << batches.status().message();
      activations_.push_back(LookUp(*engine_, *batches, executor));
      CheckActivations(inputs[core], before, activations_.back());
    }
    std::shuffle(order.begin(), order.end(), random_);
    for (const int core : order) {
      const Status status =
          SendGradients(*engine_, CoreRange{core, 1}, inputs[core].gradients,
                        rates, executor);
      ASSERT_TRUE(status.ok()) << status.message();
    }
    CheckUpdate(inputs, rates, before, Tables());
  }

  std::vector<std::vector<Matrix>> Tables() {
    std::vector<std::vector<Matrix>> tables;
    for (size_t t = 0; t < config_.tables.size(); ++t) {
      tables.push_back(RetrieveTable(*engine_, t));
    }
    return tables;
  }
  const std::vector<std::vector<Matrix>>& activations() const {
    return activations_;
  }

 private:
  // The gradient of a row of a table, with a bound of the engine's error.
  struct Gradient {
    std::vector<double> sum;
    std::vector<double> sum_abs;
    int64_t count = 0;
  };

  int64_t Number(int64_t limit) { return random_() % limit; }

  void MakeInput(CoreInput& input) {
    for (const FeatureConfig& feature : config_.features) {
      const TableConfig& table = config_.tables[feature.table_id];
      std::vector<Entry> entries;
      for (int64_t p = 0; p < feature.num_positions(); ++p) {
        const int64_t n = Number(4);
        for (int64_t j = 0; j < n; ++j) {
          const double weight = exact_ ? 1 + Number(3) : (Number(9) - 2) / 3.0f;
          entries.push_back({p, Number(table.vocabulary_size), weight});
        }
      }
      input.features.push_back(entries);
      Matrix gradient(feature.num_positions() * table.dimension);
      for (float& g : gradient) {
        g = exact_ ? (Number(17) - 8) / 64.0f
                   : std::uniform_real_distribution<float>(-1, 1)(random_);
      }
      input.gradients.push_back(std::move(gradient));
    }
  }

  void Enqueue(int core, const CoreInput& input) {
    EnqueueBuilder builder(table_dialect_ ? EnqueueForm::kSparse
                                          : EnqueueForm::kArbitrary);
    builder.combiners = combiners_;
    for (size_t f = 0; f < input.features.size(); ++f) {
      std::vector<int64_t> indices, ids;
      std::vector<double> weights;
      std::vector<int64_t> splits(config_.features[f].num_positions() + 1, 0);
      for (const Entry& entry : input.features[f]) {
        indices.push_back(entry.position);
        ids.push_back(entry.id);
        weights.push_back(entry.weight);
        ++splits[entry.position + 1];
      }
      std::partial_sum(splits.begin(), splits.end(), splits.begin());
      builder.Ragged(table_dialect_ ? indices : splits, ids, weights);
    }
    const Status status =
        engine_->Enqueue(core, Mode::kUnspecified, builder.Build());
    ASSERT_TRUE(status.ok()) << status.message();
  }

  // The coefficients of a feature's entries.
  std::vector<double> Coefficients(int f, const std::vector<Entry>& entries) {
    const Combiner combiner = combiners_[config_.features[f].table_id];
    std::map<int64_t, double> denominators;
    for (const Entry& e : entries) {
      const double weight = static_cast<float>(e.weight);
      denominators[e.position] +=
          combiner == Combiner::kMean ? weight : weight * weight;
    }
    std::vector<double> coefficients;
    for (const Entry& e : entries) {
      double denominator = denominators[e.position];
      if (combiner == Combiner::kSum) denominator = 1;
      if (combiner == Combiner::kSqrtn) denominator = std::sqrt(denominator);
      coefficients.push_back(
          denominator == 0 ? 0 : static_cast<float>(e.weight) / denominator);
    }
    return coefficients;
  }

  void CheckActivations(const CoreInput& input,
                        const std::vector<std::vector<Matrix>>& tables,
                        const std::vector<Matrix>& activations) {
    for (size_t f = 0; f < input.features.size(); ++f) {
      const FeatureConfig& feature = config_.features[f];
      const int64_t dim = config_.tables[feature.table_id].dimension;
      const Matrix& table = tables[feature.table_id][0];
      const std::vector<double> c = Coefficients(f, input.features[f]);
      const size_t size = feature.num_positions() * dim;
      std::vector<double> sum(size, 0), sum_abs(size, 0), count(size, 0);
      for (size_t j = 0; j < c.size(); ++j) {
        const Entry& entry = input.features[f][j];
        for (int64_t k = 0; k < dim; ++k) {
          const double term = c[j] * table[entry.id * dim + k];
          sum[entry.position * dim + k] += term;
          sum_abs[entry.position * dim + k] += std::fabs(term);
          count[entry.position * dim + k] += 1;
        }
      }
      ASSERT_EQ(activations[f].size(), size);
      for (size_t i = 0; i < size; ++i) {
        // n products and additions, the weight, the scale and its product.
        EXPECT_NEAR(activations[f][i], sum[i],
                    (count[i] + 4) * kEpsilon * sum_abs[i])
            << "feature " << f << " element " << i;
      }
    }
  }

  std::map<int64_t, Gradient> SumGradients(
      size_t t, const std::vector<CoreInput>& inputs) {
    const int64_t dim = config_.tables[t].dimension;
    std::map<int64_t, Gradient> rows;
    for (const CoreInput& input : inputs) {
      for (size_t f = 0; f < input.features.size(); ++f) {
        if (config_.features[f].table_id != static_cast<int>(t)) continue;
        const std::vector<double> c = Coefficients(f, input.features[f]);
        for (size_t j = 0; j < c.size(); ++j) {
          const Entry& entry = input.features[f][j];
          Gradient& row = rows[entry.id];
          row.sum.resize(dim);
          row.sum_abs.resize(dim);
          ++row.count;
          for (int64_t k = 0; k < dim; ++k) {
            const double term =
                c[j] * input.gradients[f][entry.position * dim + k];
            row.sum[k] += term;
            row.sum_abs[k] += std::fabs(term);
          }
        }
      }
    }
    return rows;
  }

  StepScalars Scalars(size_t t, const std::vector<float>& rates) {
    const OptimizerConfig& optimizer = config_.tables[t].optimizer;
    StepScalars scalars;
    scalars.learning_rate = optimizer.learning_rate.dynamic
                                ? rates[optimizer.learning_rate.tag]
                                : optimizer.learning_rate.constant;
    if (const auto* params =
            std::get_if<FrequencyAwareAdagradParams>(&optimizer.params)) {
      scalars.step_counter = rates[params->step_counter_tag];
    }
    return scalars;
  }

  void CheckUpdate(const std::vector<CoreInput>& inputs,
                   const std::vector<float>& rates,
                   std::vector<std::vector<Matrix>> before,
                   const std::vector<std::vector<Matrix>>& after) {
    for (size_t t = 0; t < before.size(); ++t) {
      SCOPED_TRACE(StrCat("table ", t, " ", optimizers_[t]->name()));
      const int64_t dim = config_.tables[t].dimension;
      std::map<int64_t, Gradient> rows = SumGradients(t, inputs);
      if (optimizers_[t]->UpdatesUntouchedRows()) {
        for (int64_t i = 0; i < config_.tables[t].vocabulary_size; ++i) {
          rows[i].sum.resize(dim);
          rows[i].sum_abs.resize(dim);
        }
      }
      for (const auto& [row, gradient] : rows) {
        if (exact_) {
          UpdateWithOptimizer(t, Scalars(t, rates), row, gradient, before[t]);
        } else {
          CheckRow(t, Scalars(t, rates), row, gradient, before[t], after[t]);
        }
      }
      if (exact_) {
        EXPECT_EQ(after[t], before[t]);
        continue;
      }
      for (int64_t row = 0; row < config_.tables[t].vocabulary_size; ++row) {
        if (rows.count(row)) continue;
        for (size_t v = 0; v < before[t].size(); ++v) {
          for (int64_t k = row * dim; k < (row + 1) * dim; ++k) {
            EXPECT_EQ(after[t][v][k], before[t][v][k]) << "untouched " << row;
          }
        }
      }
    }
  }

  // Updates `variables`; the gradient's sum is exact.
  void UpdateWithOptimizer(size_t t, const StepScalars& scalars, int64_t row,
                           const Gradient& gradient,
                           std::vector<Matrix>& variables) {
    const int64_t dim = config_.tables[t].dimension;
    std::vector<float> g(gradient.sum.begin(), gradient.sum.end());
    float* slots[kMaxSlots] = {};
    for (size_t v = 1; v < variables.size(); ++v) {
      slots[v - 1] = variables[v].data() + row * dim;
    }
    optimizers_[t]->UpdateRow(scalars, g.data(),
                              variables[0].data() + row * dim, slots, dim);
  }

  void CheckRow(size_t t, const StepScalars& scalars, int64_t row,
                const Gradient& gradient, const std::vector<Matrix>& before,
                const std::vector<Matrix>& after) {
    const int64_t dim = config_.tables[t].dimension;
    for (int64_t k = 0; k < dim; ++k) {
      const int64_t at = row * dim + k;
      // n products and additions, the weight, the scale and its product.
      const double error =
          (gradient.count + 4) * kEpsilon * gradient.sum_abs[k];
      const auto update = [&](double g) {
        ElementRef element;
        element.w = before[0][at];
        for (size_t v = 1; v < before.size(); ++v) {
          element.s[v - 1] = before[v][at];
        }
        UpdateElementRef(config_.tables[t].optimizer, scalars, g, element);
        return element;
      };
      const ElementRef want = update(gradient.sum[k]);
      const ElementRef low = update(gradient.sum[k] - error);
      const ElementRef high = update(gradient.sum[k] + error);
      const auto check = [&](float actual, double w, double l, double h,
                             const char* what) {
        // The formulas have at most 16 roundings of terms of this size.
        const double tolerance = 2 * (std::fabs(l - w) + std::fabs(h - w)) +
                                 16 * kEpsilon * (1 + std::fabs(w));
        EXPECT_NEAR(actual, w, tolerance) << what << " at " << at;
      };
      check(after[0][at], want.w, low.w, high.w, "weight");
      for (size_t v = 1; v < before.size(); ++v) {
        check(after[v][at], want.s[v - 1], low.s[v - 1], high.s[v - 1], "slot");
      }
    }
  }

  std::mt19937_64 random_;
  bool exact_;
  bool table_dialect_;
  EngineConfig config_;
  std::vector<Combiner> combiners_;
  std::vector<std::unique_ptr<const Optimizer>> optimizers_;
  std::shared_ptr<Engine> engine_;
  std::vector<std::vector<Matrix>> activations_;
};

// Gradients that add up without rounding: tables must agree bit for bit.
TEST(EngineTrainingTest, AllOptimizersSeeTheSumOfAllCoresOnce) {
  SerialExecutor executor;
  for (int seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    Trainer trainer(seed, /*exact=*/true, AllOptimizers());
    trainer.LoadRandom();
    for (int step = 0; step < 3; ++step) trainer.Step(executor);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(EngineTrainingTest, CombinersAndWeightsAgreeWithDoubles) {
  SerialExecutor executor;
  for (int seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    Trainer trainer(seed, /*exact=*/false, SmoothOptimizers());
    trainer.LoadRandom();
    for (int step = 0; step < 3; ++step) trainer.Step(executor);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(EngineTrainingTest, BitsDoNotDependOnThreads) {
  ThreadPool two(2);
  ThreadPool eight(8);
  SerialExecutor one;
  for (int seed = 1000; seed < 1040; ++seed) {
    SCOPED_TRACE(seed);
    std::vector<std::unique_ptr<Trainer>> trainers;
    for (Executor* executor : std::vector<Executor*>{&one, &two, &eight}) {
      trainers.push_back(
          std::make_unique<Trainer>(seed, /*exact=*/false, SmoothOptimizers()));
      trainers.back()->LoadRandom();
      for (int step = 0; step < 3; ++step) trainers.back()->Step(*executor);
    }
    for (int i = 1; i < 3; ++i) {
      EXPECT_EQ(trainers[i]->Tables(), trainers[0]->Tables());
      EXPECT_EQ(trainers[i]->activations(), trainers[0]->activations());
    }
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace tf_embed
