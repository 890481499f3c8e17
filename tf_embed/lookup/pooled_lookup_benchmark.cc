// bazel run -c opt //tf_embed/lookup:pooled_lookup_benchmark
//
// Counters: GB/s of table rows read (useful bytes, not lines), rows/s, and
// of_limit, the fraction of the bandwidth at which as many threads read random
// rows in this very run. Batches rotate, so that none is still in a cache.

#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "tf_embed/base/aligned_buffer.h"
#include "tf_embed/base/thread_pool.h"
#include "tf_embed/lookup/memory_bandwidth.h"
#include "tf_embed/lookup/pooled_lookup.h"
#include "tf_embed/lookup/pooled_lookup_ref.h"
#include "tf_embed/lookup/workload.h"

namespace tf_embed {
namespace {

constexpr int kNumBatches = 16;

// Tables, batches and outputs of one workload.
struct Setting {
  std::vector<AlignedBuffer> tables;
  std::vector<AlignedBuffer> outputs;
  std::vector<WorkloadBatch> batches;
  std::vector<std::vector<LookupTask>> tasks;  // of each batch
};

Setting MakeSetting(const WorkloadSpec& spec, IdDistribution distribution) {
  Setting setting;
  setting.batches = MakeBatches(spec, distribution, kNumBatches, 7);
  for (int64_t t = 0; t < spec.num_tables; ++t) {
    setting.tables.push_back(
        std::move(AlignedBuffer::Create(spec.rows * spec.dim)).value());
    float* const table = setting.tables.back().data();
    for (int64_t i = 0; i < spec.rows * spec.dim; ++i) {
      table[i] = static_cast<float>(i % 1013) - 506.0f;
    }
    setting.outputs.push_back(
        std::move(AlignedBuffer::Create(spec.batch * spec.dim)).value());
  }
  for (const WorkloadBatch& batch : setting.batches) {
    std::vector<LookupTask>& tasks = setting.tasks.emplace_back();
    for (int64_t t = 0; t < spec.num_tables; ++t) {
      LookupTask& task = tasks.emplace_back();
      task.ids = batch[t].View(spec.batch);
      task.weights = setting.tables[t].data();
      task.dim = spec.dim;
      task.output = setting.outputs[t].data();
    }
  }
  return setting;
}

// The setting of the benchmark that runs: each is called several times, to find
// how often to repeat it.
Setting& SettingOf(const WorkloadSpec& spec, IdDistribution distribution) {
  static std::unique_ptr<Setting> current;
  static std::pair<std::string, IdDistribution> current_key;
  const std::pair<std::string, IdDistribution> key(spec.name, distribution);
  if (current == nullptr || current_key != key) {
    current.reset();  // before the next is made: both may not fit
    current = std::make_unique<Setting>(MakeSetting(spec, distribution));
    current_key = key;
  }
  return *current;
}

bool IsCorrect(const LookupTask& task) {
  const std::vector<LookupElementRef> expected = PooledLookupRef(task);
  for (size_t i = 0; i < expected.size(); ++i) {
    const double bound =
        1.2e-7 * (expected[i].num_terms + 2) * expected[i].sum_of_magnitudes;
    if (!(std::fabs(task.output[i] - expected[i].value) <= bound)) return false;
  }
  return true;
}

void BM_PooledLookup(benchmark::State& state, const WorkloadSpec& spec,
                     IdDistribution distribution, int num_threads) {
  Setting& setting = SettingOf(spec, distribution);
  ThreadPool pool(num_threads);
  int64_t num_rows = 0;
  size_t batch = 0;
  for (auto _ : state) {
    PooledLookup(setting.tasks[batch], pool);
    num_rows += NumIds(setting.batches[batch]);
    batch = (batch + 1) % kNumBatches;
  }
  const std::vector<LookupTask>& last =
      setting.tasks[(batch + kNumBatches - 1) % kNumBatches];
  for (const LookupTask& task : last) {
    if (!IsCorrect(task)) state.SkipWithError("wrong result");
  }
  const double row_bytes = spec.dim * sizeof(float);
  state.counters["rows/s"] =
      benchmark::Counter(num_rows, benchmark::Counter::kIsRate);
  state.counters["GB/s"] = benchmark::Counter(num_rows * row_bytes * 1e-9,
                                              benchmark::Counter::kIsRate);
  const double limit =
      RandomRowReadBandwidth(spec.dim * sizeof(float), num_threads);
  state.counters["limit_GB/s"] = limit * 1e-9;
  state.counters["of_limit"] = benchmark::Counter(num_rows * row_bytes / limit,
                                                  benchmark::Counter::kIsRate);
}

void RegisterAll() {
  for (const WorkloadSpec& spec :
       {W1(), W2Mean(), W2Weighted(), W3(1), W3(32)}) {
    for (IdDistribution distribution :
         {IdDistribution::kUniform, IdDistribution::kZipf}) {
      for (int num_threads : {1, 2}) {
        const std::string name =
            "PooledLookup/" + spec.name +
            (distribution == IdDistribution::kZipf ? "/zipf" : "/uniform") +
            "/threads:" + std::to_string(num_threads);
        auto* const registered = benchmark::RegisterBenchmark(
            name.c_str(), BM_PooledLookup, spec, distribution, num_threads);
        registered->Unit(benchmark::kMicrosecond);
        // One thread: its own time, which other work disturbs least.
        if (num_threads > 1) registered->UseRealTime();
      }
    }
  }
}

const bool registered = (RegisterAll(), true);

}  // namespace
}  // namespace tf_embed
