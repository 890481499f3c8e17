#include "tf_embed/lookup/memory_bandwidth.h"

#include <time.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <iterator>
#include <random>
#include <utility>

#include "tf_embed/base/executor.h"
#include "tf_embed/base/prefetch.h"

namespace tf_embed {
namespace {

constexpr int64_t kBufferBytes = int64_t{2} << 30;
// Passes before rows come again: far more than fit into a cache.
constexpr int64_t kNumPasses = 16;

// Adds up one 8-byte word of each half line, which is enough for the whole line
// to be fetched and costs next to nothing. Unrolled: the end of the loop was
// mispredicted for most rows, and the "limit" 1.6x too low (Zen 5, 256 bytes).
inline uint64_t SumRow(const char* row, int64_t row_bytes) {
  uint64_t sum = 0;
#pragma GCC unroll 16
  for (int64_t offset = 0; offset + 8 <= row_bytes; offset += 32) {
    uint64_t word;
    std::memcpy(&word, row + offset, sizeof(word));
    sum += word;
  }
  return sum;
}

}  // namespace

WorkTimer::WorkTimer(int num_threads)
    : clock_(num_threads == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC),
      start_(Now()) {}

double WorkTimer::Seconds() const { return Now() - start_; }

double WorkTimer::Now() const {
  timespec now;
  clock_gettime(clock_, &now);
  return now.tv_sec + 1e-9 * now.tv_nsec;
}

// How far ahead of their use rows are prefetched; 0: not.
struct RandomRowReader::Distances {
  int64_t level2;
  int64_t level1;
};
const RandomRowReader::Distances RandomRowReader::kDistances[] = {
    {16, 0}, {32, 0}, {64, 0}, {32, 8}, {32, 4}, {0, 16}};

RandomRowReader::RandomRowReader(const RowPattern& pattern, int num_threads)
    : row_bytes_(pattern.row_bytes),
      rows_per_pass_(pattern.rows_per_pass),
      pool_(num_threads),
      table_(std::move(AlignedBuffer::Create(kBufferBytes / sizeof(float)))
                 .value()),
      offsets_(kNumPasses * num_threads * pattern.rows_per_pass),
      best_(kDistances) {
  ParallelRanges(pool_, table_.size(), 1 << 20,
                 [this](int64_t begin, int64_t end) {
                   std::fill(table_.data() + begin, table_.data() + end, 1.0f);
                 });
  std::mt19937_64 rng(1);
  const int64_t num_tables =
      std::max<int64_t>(kBufferBytes / pattern.table_bytes, 1);
  const int64_t table_rows =
      std::min(kBufferBytes, pattern.table_bytes) / row_bytes_;
  for (size_t j = 0; j < offsets_.size(); ++j) {
    const int64_t t = j / pattern.rows_per_table % num_tables;
    offsets_[j] = t * pattern.table_bytes + rng() % table_rows * row_bytes_;
  }
  // Round after round, so that all see the same moods of the machine.
  constexpr int kRounds = 15;
  double bandwidths[std::size(kDistances)] = {};
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < std::size(kDistances); ++i) {
      bandwidths[i] = std::max(bandwidths[i], Pass(kDistances[i]));
    }
  }
  best_ += std::max_element(std::begin(bandwidths), std::end(bandwidths)) -
           std::begin(bandwidths);
}

double RandomRowReader::Bandwidth() { return Pass(*best_); }

// kRowBytes is the size of a row where the compiler may know it, or 0. A limit
// found by loops that are not unrolled would be one that lookups exceed.
template <int64_t kRowBytes>
uint64_t RandomRowReader::ReadRows(const int64_t* offsets,
                                   const Distances& distances) const {
  const int64_t row_bytes = kRowBytes > 0 ? kRowBytes : row_bytes_;
  const char* const table = reinterpret_cast<const char*>(table_.data());
  const int64_t last = rows_per_pass_ - 1;
  const auto ahead = [=](int64_t j, int64_t distance) {
    return table + offsets[std::min(j + distance, last)];
  };
  uint64_t sum = 0;
  for (int64_t j = 0; j <= last; ++j) {
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

uint64_t RandomRowReader::ReadRowsOfAnySize(const int64_t* offsets,
                                            const Distances& distances) const {
  switch (row_bytes_) {
    case 64:
      return ReadRows<64>(offsets, distances);
    case 128:
      return ReadRows<128>(offsets, distances);
    case 256:
      return ReadRows<256>(offsets, distances);
    default:
      return ReadRows<0>(offsets, distances);
  }
}

double RandomRowReader::Pass(const Distances& distances) {
  const int num_threads = pool_.num_threads();
  const int64_t* const offsets =
      &offsets_[next_pass_ * num_threads * rows_per_pass_];
  next_pass_ = (next_pass_ + 1) % kNumPasses;
  std::atomic<uint64_t> sum{0};
  const WorkTimer timer(num_threads);
  pool_.ParallelFor(num_threads, [&](int64_t i) {
    sum += ReadRowsOfAnySize(offsets + i * rows_per_pass_, distances);
  });
  const double seconds = timer.Seconds();
  // Uses the sum, which is never 1, for the compiler to compute it.
  return sum == 1 ? 0 : num_threads * rows_per_pass_ * row_bytes_ / seconds;
}

}  // namespace tf_embed
