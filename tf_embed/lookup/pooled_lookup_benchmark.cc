// bazel run -c opt //tf_embed/lookup:pooled_lookup_benchmark
//
// Counters: GB/s of table rows read (useful bytes, not lines), rows/s,
// limit_GB/s at which as many threads read random rows, and of_limit, the
// median ratio of the two, measured side by side. Batches rotate, so that none
// is still in a cache.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
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

// What the benchmark that runs works on: each is called several times, to find
// how often to repeat it.
template <class Made, class Key, class Make>
Made& Current(const Key& key, const Make& make) {
  static std::unique_ptr<Made> current;
  static Key current_key;
  if (current == nullptr || current_key != key) {
    current.reset();  // before the next is made: both may not fit
    current = std::make_unique<Made>(make());
    current_key = key;
  }
  return *current;
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + values.size() / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
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
  const int64_t row_bytes = RowBytes(format, spec.dim);
  Setting& setting =
      Current<Setting>(std::make_tuple(spec.name, distribution, format),
                       [&] { return MakeSetting(spec, distribution, format); });
  auto& reader = *Current<std::unique_ptr<RandomRowReader>>(
      std::make_tuple(spec.name, format, num_threads), [&] {
        const RowPattern pattern{row_bytes, spec.rows * row_bytes,
                                 NumIds(setting.batches[0]) / spec.num_tables};
        return std::make_unique<RandomRowReader>(pattern, num_threads);
      });
  ThreadPool pool(num_threads);
  int64_t num_rows = 0;
  size_t batch = 0;
  std::vector<double> limits, ratios;
  // The reader empties the caches, which a training loop does not.
  constexpr size_t kLookupsPerLimit = 8;
  double seconds = 0;  // of the lookups since
  int64_t bytes = 0;
  for (auto _ : state) {
    const WorkTimer timer(num_threads);
    PooledLookup(setting.tasks[batch], pool);
    const double lookup_seconds = timer.Seconds();
    state.SetIterationTime(lookup_seconds);
    const int64_t rows = NumIds(setting.batches[batch]);
    num_rows += rows;
    batch = (batch + 1) % kNumBatches;
    seconds += lookup_seconds;
    bytes += rows * row_bytes;
    if (batch % kLookupsPerLimit == 0) {
      limits.push_back(reader.Bandwidth());
      ratios.push_back(bytes / seconds / limits.back());
      seconds = bytes = 0;
    }
  }
  const std::vector<LookupTask>& last =
      setting.tasks[(batch + kNumBatches - 1) % kNumBatches];
  for (const LookupTask& task : last) {
    if (!IsCorrect(task)) state.SkipWithError("wrong result");
  }
  state.counters["rows/s"] =
      benchmark::Counter(num_rows, benchmark::Counter::kIsRate);
  state.counters["GB/s"] = benchmark::Counter(num_rows * row_bytes * 1e-9,
                                              benchmark::Counter::kIsRate);
  if (limits.empty()) return;
  state.counters["limit_GB/s"] = Median(limits) * 1e-9;
  state.counters["of_limit"] = Median(ratios);
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
          registered->UseManualTime();
        }
      }
    }
  }
}

const bool registered = (RegisterAll(), true);

}  // namespace
}  // namespace tf_embed
