// bazel run -c opt //tf_embed/lookup:pooled_lookup_benchmark
//
// Counters: GB/s of table rows read (useful bytes, not lines), rows/s, and
// of_limit, the fraction of the bandwidth at which one thread reads random rows
// in this very run. Batches rotate, so that none is still in a cache.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
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
#include "tf_embed/lookup/row_format.h"
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

// Ordinary numbers, or codes with a scale and a bias.
AlignedBuffer MakeTable(RowFormat format, int64_t rows, int64_t dim) {
  const int64_t row_bytes = RowBytes(format, dim);
  AlignedBuffer table =
      std::move(AlignedBuffer::Create((rows * row_bytes + 3) / 4)).value();
  uint8_t* row = reinterpret_cast<uint8_t*>(table.data());
  for (int64_t i = 0; i < rows; ++i, row += row_bytes) {
    for (int64_t k = 0; k < dim; ++k) {
      const int64_t n = i * dim + k;
      if (format == RowFormat::kFloat32) {
        const float value = static_cast<float>(n % 1013) - 506.0f;
        std::memcpy(row + 4 * k, &value, sizeof(value));
      } else if (format == RowFormat::kBfloat16 ||
                 format == RowFormat::kFloat16) {
        const uint16_t bits = 0x3C00 + n % 509;
        std::memcpy(row + 2 * k, &bits, sizeof(bits));
      } else if (k < row_bytes - kRowScaleBytes) {
        row[k] = n % 251;
      }
    }
    if (format == RowFormat::kInt8 || format == RowFormat::kInt4) {
      const float scale_and_bias[] = {1 + i % 7 / 8.0f, -100.0f};
      static_assert(sizeof(scale_and_bias) == kRowScaleBytes);
      std::memcpy(row + row_bytes - kRowScaleBytes, scale_and_bias,
                  kRowScaleBytes);
    }
  }
  return table;
}

Setting MakeSetting(const WorkloadSpec& spec, IdDistribution distribution,
                    RowFormat format) {
  Setting setting;
  setting.batches = MakeBatches(spec, distribution, kNumBatches, 7);
  for (int64_t t = 0; t < spec.num_tables; ++t) {
    setting.tables.push_back(MakeTable(format, spec.rows, spec.dim));
    setting.outputs.push_back(
        std::move(AlignedBuffer::Create(spec.batch * spec.dim)).value());
  }
  for (const WorkloadBatch& batch : setting.batches) {
    std::vector<LookupTask>& tasks = setting.tasks.emplace_back();
    for (int64_t t = 0; t < spec.num_tables; ++t) {
      LookupTask& task = tasks.emplace_back();
      task.ids = batch[t].View(spec.batch);
      task.weights = setting.tables[t].data();
      task.format = format;
      task.dim = spec.dim;
      task.output = setting.outputs[t].data();
    }
  }
  return setting;
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
                     IdDistribution distribution, RowFormat format,
                     int num_threads) {
  Setting setting = MakeSetting(spec, distribution, format);
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
  const int64_t row_bytes = RowBytes(format, spec.dim);
  state.counters["rows/s"] =
      benchmark::Counter(num_rows, benchmark::Counter::kIsRate);
  state.counters["GB/s"] = benchmark::Counter(num_rows * row_bytes * 1e-9,
                                              benchmark::Counter::kIsRate);
  state.counters["of_limit"] = benchmark::Counter(
      num_rows * row_bytes / RandomRowReadBandwidth(row_bytes),
      benchmark::Counter::kIsRate);
}

constexpr struct {
  const char* name;
  RowFormat format;
} kFormats[] = {{"", RowFormat::kFloat32},
                {"/bfloat16", RowFormat::kBfloat16},
                {"/float16", RowFormat::kFloat16},
                {"/int8", RowFormat::kInt8},
                {"/int4", RowFormat::kInt4}};

void RegisterAll() {
  for (const WorkloadSpec& spec :
       {W1(), W2Mean(), W2Weighted(), W3(1), W3(32)}) {
    for (IdDistribution distribution :
         {IdDistribution::kUniform, IdDistribution::kZipf}) {
      for (const auto& [format_name, format] : kFormats) {
        for (int num_threads : {1, 2}) {
          const std::string name =
              "PooledLookup/" + spec.name + format_name +
              (distribution == IdDistribution::kZipf ? "/zipf" : "/uniform") +
              "/threads:" + std::to_string(num_threads);
          auto* const registered =
              benchmark::RegisterBenchmark(name.c_str(), BM_PooledLookup, spec,
                                           distribution, format, num_threads);
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
