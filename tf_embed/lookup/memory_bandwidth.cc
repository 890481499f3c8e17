#include "tf_embed/lookup/memory_bandwidth.h"

#include <time.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "tf_embed/base/aligned_buffer.h"
#include "tf_embed/lookup/prefetch.h"

namespace tf_embed {
namespace {

constexpr int64_t kTableBytes = int64_t{2} << 30;
constexpr int64_t kRowsPerPass = 1 << 18;

// Adds up one 8-byte word of each half line, which is enough for the whole line
// to be fetched and costs next to nothing.
uint64_t SumRow(const char* row, int64_t row_bytes) {
  uint64_t sum = 0;
  for (int64_t offset = 0; offset + 8 <= row_bytes; offset += 32) {
    uint64_t word;
    std::memcpy(&word, row + offset, sizeof(word));
    sum += word;
  }
  return sum;
}

template <class FarLevel>
uint64_t ReadRows(const char* table, const int64_t* offsets, int64_t row_bytes,
                  int64_t far, int64_t near) {
  uint64_t sum = 0;
  for (int64_t j = 0; j < kRowsPerPass; ++j) {
    PrefetchRow<FarLevel>(table + offsets[std::min(j + far, kRowsPerPass - 1)],
                          row_bytes);
    if (near > 0) {
      PrefetchRow<ToLevel1>(
          table + offsets[std::min(j + near, kRowsPerPass - 1)], row_bytes);
    }
    sum += SumRow(table + offsets[j], row_bytes);
  }
  return sum;
}

// Time that this thread ran: unlike wall time, not disturbed by other work on
// the machine as long as that leaves the memory alone.
double ThreadSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

double Measure(int64_t row_bytes) {
  StatusOr<AlignedBuffer> table =
      AlignedBuffer::Create(kTableBytes / sizeof(float));
  if (!table.ok()) return 0;
  for (float& x : table->span()) x = 1.0f;
  const char* const bytes = reinterpret_cast<const char*>(table->data());
  std::mt19937_64 rng(1);
  std::vector<int64_t> offsets(kRowsPerPass);
  double best = 0;
  uint64_t sum = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    for (const auto& [far, near] : std::vector<std::pair<int64_t, int64_t>>{
             {16, 0}, {32, 0}, {64, 0}, {32, 8}, {32, 4}, {0, 16}}) {
      for (int64_t& offset : offsets) {
        offset = rng() % (kTableBytes / row_bytes) * row_bytes;
      }
      const double start = ThreadSeconds();
      sum +=
          far > 0
              ? ReadRows<ToLevel2>(bytes, offsets.data(), row_bytes, far, near)
              : ReadRows<ToLevel1>(bytes, offsets.data(), row_bytes, near, 0);
      best =
          std::max(best, kRowsPerPass * row_bytes / (ThreadSeconds() - start));
    }
  }
  return sum == 1 ? 0 : best;  // uses the sum
}

}  // namespace

double RandomRowReadBandwidth(int64_t row_bytes) {
  static std::map<int64_t, double> measured;
  const auto [it, is_new] = measured.try_emplace(row_bytes, 0);
  if (is_new) it->second = Measure(row_bytes);
  return it->second;
}

}  // namespace tf_embed
