// bazel run -c opt //tf_embed/lookup:sparse_update_benchmark
//
// One step of the update, without the lookup. Counters: contributions/s, and
// GB/s of useful bytes: gradients read, touched rows of weights and slots read
// and written. Batches rotate, so that none is still in a cache.

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "tf_embed/base/aligned_buffer.h"
#include "tf_embed/base/thread_pool.h"
#include "tf_embed/lookup/sparse_update.h"
#include "tf_embed/lookup/sparse_update_ref.h"
#include "tf_embed/lookup/workload.h"

namespace tf_embed {
namespace {

constexpr int kNumBatches = 16;

AlignedBuffer Filled(int64_t size, float value) {
  AlignedBuffer buffer = std::move(AlignedBuffer::Create(size)).value();
  for (float& x : buffer.span()) x = value;
  return buffer;
}

// Tables, gradients and batches of one workload.
struct Setting {
  std::unique_ptr<const Optimizer> optimizer;
  std::vector<AlignedBuffer> arrays;       // weights, slots of each table
  std::vector<std::vector<float*>> slots;  // of each table
  std::vector<AlignedBuffer> gradients;    // of each table
  std::vector<WorkloadBatch> batches;
  std::vector<std::vector<GradientSource>> sources;  // of batch and table
  std::vector<std::vector<TableUpdate>> updates;     // of each batch
};

Setting MakeSetting(const WorkloadSpec& spec, IdDistribution distribution,
                    const OptimizerParams& params) {
  Setting s;
  OptimizerConfig config;
  config.params = params;
  s.optimizer = std::move(Optimizer::Create(config)).value();
  s.batches = MakeBatches(spec, distribution, kNumBatches, 7);
  std::vector<TableView> tables(spec.num_tables);
  for (int64_t t = 0; t < spec.num_tables; ++t) {
    std::vector<float*>& slots = s.slots.emplace_back();
    for (size_t i = 0; i <= s.optimizer->slots().size(); ++i) {
      s.arrays.push_back(Filled(spec.rows * spec.dim, 0.5f));
      if (i > 0) slots.push_back(s.arrays.back().data());
    }
    tables[t].rows = spec.rows;
    tables[t].dim = spec.dim;
    tables[t].weights = s.arrays[s.arrays.size() - 1 - slots.size()].data();
    s.gradients.push_back(Filled(spec.batch * spec.dim, 0.0f));
    for (int64_t i = 0; i < spec.batch * spec.dim; ++i) {
      s.gradients.back().data()[i] = (i % 255 - 127) * 0x1p-10f;
    }
  }
  for (int64_t t = 0; t < spec.num_tables; ++t) {
    tables[t].slots = Span<float* const>(s.slots[t].data(), s.slots[t].size());
  }
  for (const WorkloadBatch& batch : s.batches) {
    std::vector<GradientSource>& sources = s.sources.emplace_back();
    for (int64_t t = 0; t < spec.num_tables; ++t) {
      sources.push_back({batch[t].View(spec.batch), s.gradients[t].data()});
    }
  }
  for (const std::vector<GradientSource>& sources : s.sources) {
    std::vector<TableUpdate>& updates = s.updates.emplace_back();
    for (int64_t t = 0; t < spec.num_tables; ++t) {
      TableUpdate& update = updates.emplace_back();
      update.table = tables[t];
      update.optimizer = s.optimizer.get();
      update.scalars.learning_rate = 0.01f;
      update.sources = Span<const GradientSource>(&sources[t], 1);
    }
  }
  return s;
}

// The setting of the benchmark that runs: each is called several times, to find
// how often to repeat it.
Setting& SettingOf(const WorkloadSpec& spec, IdDistribution distribution,
                   const OptimizerParams& params) {
  static std::unique_ptr<Setting> current;
  static std::tuple<std::string, IdDistribution, size_t> current_key;
  const std::tuple<std::string, IdDistribution, size_t> key(
      spec.name, distribution, params.index());
  if (current == nullptr || current_key != key) {
    current.reset();  // before the next is made: both may not fit
    current =
        std::make_unique<Setting>(MakeSetting(spec, distribution, params));
    current_key = key;
  }
  return *current;
}

// Runs one more step on the first table, and the optimizer row by row beside.
bool IsCorrect(TableUpdate update, Executor& executor) {
  const int64_t dim = update.table.dim;
  std::vector<float> expected;
  const std::map<int64_t, RowGradientRef> rows = AccumulateRef(update);
  for (const auto& [id, gradient] : rows) {
    const std::vector<float> g(gradient.value.begin(), gradient.value.end());
    std::vector<std::vector<float>> copies;
    std::vector<float*> slots;
    const auto copy = [&](const float* array) {
      copies.emplace_back(array + id * dim, array + (id + 1) * dim);
    };
    copy(update.table.weights);
    for (const float* slot : update.table.slots) copy(slot);
    for (size_t i = 1; i < copies.size(); ++i) {
      slots.push_back(copies[i].data());
    }
    update.optimizer->UpdateRow(update.scalars, g.data(), copies[0].data(),
                                slots.data(), dim);
    expected.insert(expected.end(), copies[0].begin(), copies[0].end());
  }
  SparseUpdateScratch scratch;
  SparseUpdate(Span<TableUpdate>(&update, 1), scratch, executor);
  size_t i = 0;
  for (const auto& [id, gradient] : rows) {
    for (int64_t k = 0; k < dim; ++k, ++i) {
      const float w = update.table.weights[id * dim + k];
      if (!(std::fabs(w - expected[i]) <= 1e-5 * (1 + std::fabs(w)))) {
        return false;
      }
    }
  }
  return true;
}

void BM_SparseUpdate(benchmark::State& state, const WorkloadSpec& spec,
                     IdDistribution distribution, const OptimizerParams& params,
                     int num_threads) {
  Setting& setting = SettingOf(spec, distribution, params);
  ThreadPool pool(num_threads);
  SparseUpdateScratch scratch;
  int64_t num_contributions = 0;
  int64_t rows_touched = 0;
  size_t batch = 0;
  for (auto _ : state) {
    SparseUpdate(setting.updates[batch], scratch, pool);
    num_contributions += NumIds(setting.batches[batch]);
    for (const TableUpdate& update : setting.updates[batch]) {
      rows_touched += update.rows_touched;
    }
    batch = (batch + 1) % kNumBatches;
  }
  if (!IsCorrect(setting.updates[batch][0], pool)) {
    state.SkipWithError("wrong result");
  }
  const double row_bytes = spec.dim * sizeof(float);
  const double bytes =
      row_bytes *
      (num_contributions +
       2.0 * (1 + setting.optimizer->slots().size()) * rows_touched);
  state.counters["contributions/s"] =
      benchmark::Counter(num_contributions, benchmark::Counter::kIsRate);
  state.counters["GB/s"] =
      benchmark::Counter(bytes * 1e-9, benchmark::Counter::kIsRate);
}

void RegisterAll() {
  const std::vector<std::pair<const char*, OptimizerParams>> optimizers = {
      {"sgd", SgdParams{}},
      {"adagrad", AdagradParams{}},
      {"adam", AdamParams{0.9f, 0.999f, 1e-7f, false, true}},
      {"ftrl", FtrlParams{0.01f, 0.01f, -0.5f, 0, false}},
  };
  for (const WorkloadSpec& spec :
       {W1(), W2Mean(), W2Weighted(), W3(1), W3(32)}) {
    for (IdDistribution distribution :
         {IdDistribution::kUniform, IdDistribution::kZipf}) {
      for (const auto& [optimizer, params] : optimizers) {
        for (int num_threads : {1, 2}) {
          const std::string name =
              "SparseUpdate/" + spec.name +
              (distribution == IdDistribution::kZipf ? "/zipf/" : "/uniform/") +
              optimizer + "/threads:" + std::to_string(num_threads);
          auto* const registered =
              benchmark::RegisterBenchmark(name.c_str(), BM_SparseUpdate, spec,
                                           distribution, params, num_threads);
          registered->Unit(benchmark::kMicrosecond);
          // One thread: its own time, which other work disturbs least.
          if (num_threads > 1) registered->UseRealTime();
        }
      }
    }
  }
}

const bool registered = (RegisterAll(), true);

}  // namespace
}  // namespace tf_embed
