#include "tf_embed/lookup/memory_bandwidth.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "tf_embed/base/aligned_buffer.h"
#include "tf_embed/base/executor.h"
#include "tf_embed/base/thread_pool.h"
#include "tf_embed/lookup/prefetch.h"

namespace tf_embed {
namespace {

constexpr int64_t kTableBytes = int64_t{2} << 30;
constexpr int64_t kRowsPerPass = 1 << 18;

// Adds up one 8-byte word of each half line, which is enough for the whole line
// to be fetched and costs next to nothing.
inline uint64_t SumRow(const char* row, int64_t row_bytes) {
  uint64_t sum = 0;
  for (int64_t offset = 0; offset + 8 <= row_bytes; offset += 32) {
    uint64_t word;
    std::memcpy(&word, row + offset, sizeof(word));
    sum += word;
  }
  return sum;
}

// How far ahead of their use rows are prefetched; 0: not.
struct Distances {
  int64_t level2;
  int64_t level1;
};
constexpr Distances kDistances[] = {{16, 0}, {32, 0}, {64, 0},
                                    {32, 8}, {32, 4}, {0, 16}};

// kRowBytes is the size of a row where the compiler may know it, or 0. A limit
// found by loops that are not unrolled would be one that lookups exceed.
template <int64_t kRowBytes>
uint64_t ReadRows(const char* table, const int64_t* offsets, int64_t row_bytes,
                  const Distances& distances) {
  if (kRowBytes > 0) row_bytes = kRowBytes;
  const auto ahead = [=](int64_t j, int64_t distance) {
    return table + offsets[std::min(j + distance, kRowsPerPass - 1)];
  };
  uint64_t sum = 0;
  for (int64_t j = 0; j < kRowsPerPass; ++j) {
    if (distances.level2 > 0) {
      PrefetchRow<ToLevel2>(ahead(j, distances.level2), row_bytes);
    }
    if (distances.level1 > 0) {
      PrefetchRow<ToLevel1>(ahead(j, distances.level1), row_bytes);
    }
    sum += SumRow(table + offsets[j], row_bytes);
  }
  return sum;
}

uint64_t ReadRows(const char* table, const int64_t* offsets, int64_t row_bytes,
                  const Distances& distances) {
  switch (row_bytes) {
    case 128:
      return ReadRows<128>(table, offsets, row_bytes, distances);
    case 256:
      return ReadRows<256>(table, offsets, row_bytes, distances);
    case 512:
      return ReadRows<512>(table, offsets, row_bytes, distances);
    default:
      return ReadRows<0>(table, offsets, row_bytes, distances);
  }
}

double SecondsOf(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

double Measure(int64_t row_bytes, int num_threads) {
  StatusOr<AlignedBuffer> table =
      AlignedBuffer::Create(kTableBytes / sizeof(float));
  if (!table.ok()) return 0;
  ThreadPool pool(num_threads);
  ParallelRanges(pool, table->size(), 1 << 20, [&](int64_t begin, int64_t end) {
    std::fill(table->data() + begin, table->data() + end, 1.0f);
  });
  const char* const bytes = reinterpret_cast<const char*>(table->data());
  // One thread: the time that it ran, which other work on the machine does not
  // disturb as long as that leaves the memory alone.
  const clockid_t clock =
      num_threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  std::mt19937_64 rng(1);
  std::vector<int64_t> offsets(num_threads * kRowsPerPass);
  std::atomic<uint64_t> sum{0};
  double best = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    for (const Distances& distances : kDistances) {
      for (int64_t& offset : offsets) {
        offset = rng() % (kTableBytes / row_bytes) * row_bytes;
      }
      const double start = SecondsOf(clock);
      pool.ParallelFor(num_threads, [&](int64_t i) {
        sum +=
            ReadRows(bytes, &offsets[i * kRowsPerPass], row_bytes, distances);
      });
      best = std::max(best,
                      offsets.size() * row_bytes / (SecondsOf(clock) - start));
    }
  }
  return sum == 1 ? 0 : best;  // uses the sum
}

}  // namespace

double RandomRowReadBandwidth(int64_t row_bytes, int num_threads) {
  static std::map<std::pair<int64_t, int>, double> measured;
  const auto [it, is_new] = measured.try_emplace({row_bytes, num_threads}, 0);
  if (is_new) it->second = Measure(row_bytes, num_threads);
  return it->second;
}

}  // namespace tf_embed
