#include "tf_embed/lookup/pooled_lookup.h"

#include <sys/mman.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tf_embed/base/simd_targets.h"
#include "tf_embed/base/thread_pool.h"
#include "tf_embed/lookup/pooled_lookup_ref.h"
#include "tf_embed/lookup/row_format.h"
#include "tf_embed/lookup/row_format_ref.h"

namespace tf_embed {
namespace {

constexpr float kEpsilon = std::numeric_limits<float>::epsilon();
constexpr float kGuard = -12345.0f;

// Bag sizes: one id at each position, or ragged.
enum class Bags { kOneId, kFew, kMany, kAllEmpty };

// A random task with all that its views point to.
template <typename Id>
struct Example {
  std::vector<int64_t> offsets;
  std::vector<Id> ids;
  std::vector<float> weights;
  std::vector<float> scales;
  std::vector<uint8_t> table;
  SimulatedQuantization quantization{7, -0.5f, 0.75f};
  std::vector<float> output;
  BasicLookupTask<Id> task;
};

struct Options {
  int64_t dim = 1;
  Bags bags = Bags::kFew;
  bool weighted = false;
  bool scaled = false;
  bool quantized = false;
  RowFormat format = RowFormat::kFloat32;
  int64_t positions = 13;
};

template <typename T>
void Write(T value, uint8_t* place) {
  std::memcpy(place, &value, sizeof(value));
}

// A random row: numbers between -1 and 1, or any codes with a scale and a bias.
void FillRow(RowFormat format, int64_t dim, std::mt19937& rng, uint8_t* row) {
  std::uniform_real_distribution<float> value(-1, 1);
  switch (format) {
    case RowFormat::kFloat32:
      for (int64_t k = 0; k < dim; ++k) Write(value(rng), row + 4 * k);
      return;
    case RowFormat::kBfloat16:
      for (int64_t k = 0; k < dim; ++k) {
        uint32_t bits;
        const float x = value(rng);
        std::memcpy(&bits, &x, sizeof(bits));
        Write(static_cast<uint16_t>(bits >> 16), row + 2 * k);
      }
      return;
    case RowFormat::kFloat16:
      // Any finite number.
      for (int64_t k = 0; k < dim; ++k) {
        Write(static_cast<uint16_t>(rng() % 0x7C00 | (rng() % 2) << 15),
              row + 2 * k);
      }
      return;
    case RowFormat::kInt8:
    case RowFormat::kInt4: {
      const int64_t code_bytes = RowBytes(format, dim) - kRowScaleBytes;
      for (int64_t k = 0; k < code_bytes; ++k) row[k] = rng();
      Write(value(rng) / 100, row + code_bytes);
      Write(value(rng), row + code_bytes + 4);
      return;
    }
  }
}

template <typename Id>
void Fill(const Options& options, uint32_t seed, Example<Id>& e) {
  constexpr int64_t kRows = 50;
  std::mt19937 rng(seed);
  std::uniform_real_distribution<float> value(-1, 1);
  const int64_t num_positions = options.positions;
  if (options.bags != Bags::kOneId) e.offsets.push_back(0);
  for (int64_t p = 0; p < num_positions; ++p) {
    int64_t size = 0;
    switch (options.bags) {
      case Bags::kOneId:
        size = 1;
        break;
      case Bags::kFew:
        size = p % 4;
        break;
      case Bags::kMany:
        size = p == 1 ? 0 : 17 + 5 * p;
        break;
      case Bags::kAllEmpty:
        break;
    }
    for (int64_t j = 0; j < size; ++j) {
      e.ids.push_back(rng() % kRows);
      if (options.weighted) e.weights.push_back(value(rng));
    }
    if (options.bags != Bags::kOneId) e.offsets.push_back(e.ids.size());
    if (options.scaled) e.scales.push_back(value(rng));
  }
  if (options.bags == Bags::kMany) e.ids[1] = e.ids[0];  // a repeated id
  // One number off, so that no vector of table or output is aligned. No byte
  // is left over behind the table: asan sees reads beyond the last row.
  const int64_t row_bytes = RowBytes(options.format, options.dim);
  const int64_t offset =
      RowBytes(options.format, 2) - RowBytes(options.format, 1);  // of int4: 0
  e.table.resize(offset + kRows * row_bytes);
  for (int64_t i = 0; i < kRows; ++i) {
    FillRow(options.format, options.dim, rng,
            e.table.data() + offset + i * row_bytes);
  }
  e.output.assign(2 + num_positions * options.dim, kGuard);
  e.task.ids.num_positions = num_positions;
  e.task.ids.offsets = e.offsets;
  e.task.ids.ids = e.ids;
  e.task.ids.weights = e.weights;
  e.task.ids.scales = e.scales;
  e.task.weights = e.table.data() + offset;
  e.task.format = options.format;
  e.task.dim = options.dim;
  e.task.quantization = options.quantized ? &e.quantization : nullptr;
  e.task.output = e.output.data() + 1;
}

template <typename Id>
void ExpectAgreesWithReference(const Example<Id>& e) {
  const std::vector<LookupElementRef> expected = PooledLookupRef(e.task);
  for (size_t i = 0; i < expected.size(); ++i) {
    const double bound =
        kEpsilon * (expected[i].num_terms + 4) *
        (expected[i].sum_of_magnitudes + (e.task.quantization ? 1 : 0));
    ASSERT_NEAR(e.task.output[i], expected[i].value, bound) << "element " << i;
  }
  EXPECT_EQ(e.output.front(), kGuard);
  EXPECT_EQ(e.output.back(), kGuard);
}

// Runs the body once for each SIMD target of the machine.
class PooledLookupTest : public testing::TestWithParam<SimdTarget> {
 protected:
  void SetUp() override { ForceSimdTarget(GetParam()); }
  void TearDown() override { UseBestSimdTarget(); }
};

INSTANTIATE_TEST_SUITE_P(Targets, PooledLookupTest,
                         testing::ValuesIn(SupportedSimdTargets()),
                         [](const testing::TestParamInfo<SimdTarget>& info) {
                           return std::string(SimdTargetName(info.param));
                         });

// Formats, and whether quantization is simulated.
constexpr std::pair<RowFormat, bool> kRowKinds[] = {
    {RowFormat::kFloat32, false},  {RowFormat::kFloat32, true},
    {RowFormat::kBfloat16, false}, {RowFormat::kFloat16, false},
    {RowFormat::kInt8, false},     {RowFormat::kInt4, false}};

template <typename Id>
void RunAllShapes() {
  SerialExecutor serial;
  uint32_t seed = 1000;
  for (int64_t dim : {1, 3, 7, 8, 15, 16, 17, 31, 32, 64, 85, 128, 163, 300}) {
    for (Bags bags : {Bags::kOneId, Bags::kFew, Bags::kMany, Bags::kAllEmpty}) {
      for (bool weighted : {false, true}) {
        for (bool scaled : {false, true}) {
          for (const auto& [format, quantized] : kRowKinds) {
            ++seed;
            SCOPED_TRACE(testing::Message()
                         << "dim " << dim << " bags " << static_cast<int>(bags)
                         << " weighted " << weighted << " scaled " << scaled
                         << " quantized " << quantized << " format "
                         << static_cast<int>(format) << " seed " << seed);
            Example<Id> e;
            Fill({dim, bags, weighted, scaled, quantized, format}, seed, e);
            PooledLookup(Span<const BasicLookupTask<Id>>(&e.task, 1), serial);
            ExpectAgreesWithReference(e);
            if (testing::Test::HasFatalFailure()) return;
          }
        }
      }
    }
  }
}

TEST_P(PooledLookupTest, AgreesWithTheReferenceInAllShapes) {
  RunAllShapes<int64_t>();
}

TEST_P(PooledLookupTest, AgreesWithTheReferenceWithShortIds) {
  RunAllShapes<int32_t>();
}

TEST_P(PooledLookupTest, ManyTasksGiveTheSameBitsForAnyNumberOfThreads) {
  std::vector<std::vector<float>> outputs_of_run;
  for (int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    std::vector<Example<int64_t>> examples(40);
    std::vector<LookupTask> tasks;
    for (size_t t = 0; t < examples.size(); ++t) {
      Options options;
      options.dim = t == 5 ? 64 : 1 + 37 * t % 100;
      options.bags = t % 3 == 0 ? Bags::kOneId : Bags::kFew;
      options.positions = t == 17 ? 0 : t == 5 ? 5000 : 1 + 211 * t % 200;
      options.weighted = t % 2;
      options.scaled = t % 5 == 1;
      options.format = kRowKinds[t % std::size(kRowKinds)].first;
      Fill(options, 70 + t, examples[t]);
      tasks.push_back(examples[t].task);
    }
    PooledLookup(tasks, pool);
    std::vector<float> all;
    for (const Example<int64_t>& e : examples) {
      if (threads == 1) ExpectAgreesWithReference(e);
      all.insert(all.end(), e.output.begin(), e.output.end());
    }
    outputs_of_run.push_back(std::move(all));
  }
  for (const std::vector<float>& output : outputs_of_run) {
    ASSERT_EQ(output.size(), outputs_of_run[0].size());
    EXPECT_EQ(std::memcmp(output.data(), outputs_of_run[0].data(),
                          output.size() * sizeof(float)),
              0);
  }
}

TEST_P(PooledLookupTest, NoTasksAndNoPositions) {
  ThreadPool pool(2);
  PooledLookup(Span<const LookupTask>(), pool);
  LookupTask task;
  task.dim = 4;
  PooledLookup(Span<const LookupTask>(&task, 1), pool);
}

TEST_P(PooledLookupTest, NanAndInfinityStayInTheirColumns) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  std::vector<float> table(2 * 20, 1.0f);
  table[3] = nan;
  table[20 + 17] = inf;
  const std::vector<int64_t> offsets = {0, 2};
  const std::vector<int64_t> ids = {0, 1};
  std::vector<float> output(20);
  LookupTask task;
  task.ids.num_positions = 1;
  task.ids.offsets = offsets;
  task.ids.ids = ids;
  task.weights = table.data();
  task.dim = 20;
  task.output = output.data();
  SerialExecutor serial;
  PooledLookup(Span<const LookupTask>(&task, 1), serial);
  for (int k = 0; k < 20; ++k) {
    if (k == 3) {
      EXPECT_TRUE(std::isnan(output[k]));
    } else {
      EXPECT_EQ(output[k], k == 17 ? inf : 2.0f);
    }
  }
  const SimulatedQuantization quantization{3, 0.0f, 2.0f};
  task.quantization = &quantization;
  PooledLookup(Span<const LookupTask>(&task, 1), serial);
  EXPECT_TRUE(std::isnan(output[3]));
  EXPECT_EQ(output[17], 3.0f);  // infinity is clipped to 2
}

// Every number of 16 bits, each alone at its position.
void ExpectEveryValue(RowFormat format, double (*expected)(uint16_t)) {
  constexpr int64_t kDim = 256;
  std::vector<uint16_t> table(1 << 16);
  std::iota(table.begin(), table.end(), uint16_t{0});
  std::vector<int64_t> ids(table.size() / kDim);
  std::iota(ids.begin(), ids.end(), 0);
  std::vector<float> output(table.size());
  LookupTask task;
  task.ids.num_positions = ids.size();
  task.ids.ids = ids;
  task.weights = table.data();
  task.format = format;
  task.dim = kDim;
  task.output = output.data();
  SerialExecutor serial;
  PooledLookup(Span<const LookupTask>(&task, 1), serial);
  for (size_t bits = 0; bits < table.size(); ++bits) {
    const double value = expected(bits);
    if (std::isfinite(value)) {
      EXPECT_EQ(output[bits], value) << "bits " << bits;
    } else if (format == RowFormat::kBfloat16) {
      EXPECT_EQ(std::isnan(output[bits]), std::isnan(value));
      EXPECT_EQ(std::isinf(output[bits]), std::isinf(value));
    }
  }
}

TEST_P(PooledLookupTest, EveryBfloat16IsReadExactly) {
  ExpectEveryValue(RowFormat::kBfloat16, Bfloat16Ref);
}

TEST_P(PooledLookupTest, EveryFiniteFloat16IsReadExactly) {
  ExpectEveryValue(RowFormat::kFloat16, Float16Ref);
}

// One id at a position: one product and one sum, each rounded once, as the
// stock ops of an export compute it.
TEST_P(PooledLookupTest, EveryCodeIsScaledAndThenShifted) {
  const float scale = 0.1f, bias = -7.3f;
  for (RowFormat format : {RowFormat::kInt8, RowFormat::kInt4}) {
    const int64_t dim = 256;
    std::vector<uint8_t> row(RowBytes(format, dim));
    const int64_t code_bytes = row.size() - kRowScaleBytes;
    std::iota(row.begin(), row.begin() + code_bytes, uint8_t{0});
    Write(scale, row.data() + code_bytes);
    Write(bias, row.data() + code_bytes + 4);
    const std::vector<int64_t> ids = {0};
    std::vector<float> output(dim);
    LookupTask task;
    task.ids.num_positions = 1;
    task.ids.ids = ids;
    task.weights = row.data();
    task.format = format;
    task.dim = dim;
    task.output = output.data();
    SerialExecutor serial;
    PooledLookup(Span<const LookupTask>(&task, 1), serial);
    for (int64_t k = 0; k < dim; ++k) {
      const float code = RowElement(row.data(), format, dim, 0, k).code;
      const volatile float product = scale * code;  // no fused multiply-add
      EXPECT_EQ(output[k], product + bias) << "column " << k;
    }
  }
}

TEST_P(PooledLookupTest, SimulatedQuantizationTakesTheNearestBucket) {
  // Buckets at -1, -0.5, 0, 0.5, 1; halves go up.
  const SimulatedQuantization quantization{5, -1.0f, 1.0f};
  const std::vector<float> table = {-7,    -0.76f, -0.75f, -0.26f, -0.25f,
                                    0.24f, 0.25f,  0.74f,  0.75f,  7};
  const std::vector<float> expected = {-1, -1,   -0.5f, -0.5f, 0,
                                       0,  0.5f, 0.5f,  1,     1};
  const std::vector<int64_t> ids = {0};
  std::vector<float> output(10);
  LookupTask task;
  task.ids.num_positions = 1;
  task.ids.ids = ids;
  task.weights = table.data();
  task.dim = 10;
  task.quantization = &quantization;
  task.output = output.data();
  SerialExecutor serial;
  PooledLookup(Span<const LookupTask>(&task, 1), serial);
  EXPECT_EQ(output, expected);
}

TEST_P(PooledLookupTest, AddressesBeyondTwoToTheThirtyOneElements) {
  // 12 GB of address space; only the pages that are written exist.
  const int64_t rows = 50'000'000;
  const int64_t dim = 64;
  const size_t bytes = rows * dim * sizeof(float);
  void* const mapping =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) GTEST_SKIP() << "no address space";
  float* const table = static_cast<float*>(mapping);
  const std::vector<int64_t> ids = {rows - 1, 33'554'432, 0};
  const std::vector<int32_t> short_ids(ids.begin(), ids.end());
  for (int64_t id : ids) table[id * dim + 63] = static_cast<float>(id % 1000);
  std::vector<float> output(3 * dim);
  SerialExecutor serial;
  LookupTask task;
  task.ids.num_positions = 3;
  task.ids.ids = ids;
  task.weights = table;
  task.dim = dim;
  task.output = output.data();
  PooledLookup(Span<const LookupTask>(&task, 1), serial);
  EXPECT_EQ(output[63], 999);
  EXPECT_EQ(output[127], 432);
  EXPECT_EQ(output[191], 0);
  BasicLookupTask<int32_t> short_task;
  short_task.ids.num_positions = 3;
  short_task.ids.ids = short_ids;
  short_task.weights = table;
  short_task.dim = dim;
  std::vector<float> short_output(3 * dim);
  short_task.output = short_output.data();
  PooledLookup(Span<const BasicLookupTask<int32_t>>(&short_task, 1), serial);
  EXPECT_EQ(output, short_output);
  munmap(mapping, bytes);
}

}  // namespace
}  // namespace tf_embed
