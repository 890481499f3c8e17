#ifndef TF_EMBED_TF_EMBED_LOOKUP_MEMORY_BANDWIDTH_H_
#define TF_EMBED_TF_EMBED_LOOKUP_MEMORY_BANDWIDTH_H_

#include <cstdint>
#include <vector>

#include "tf_embed/base/aligned_buffer.h"
#include "tf_embed/base/thread_pool.h"

namespace tf_embed {

// How long a benchmark's work takes: one thread's own time, which other work on
// the machine disturbs least, or the time on the clock.
class WorkTimer {
 public:
  explicit WorkTimer(int num_threads);
  double Seconds() const;  // since construction

 private:
  double Now() const;

  const int clock_;
  const double start_;
};

// Which rows are read: `rows_per_table` random ones of one table, then as many
// of the next. How far apart rows lie decides how often an address has to be
// translated anew: on a virtual machine, random rows of 2 GB came at half the
// bandwidth of random rows of 256 MB.
struct RowPattern {
  int64_t row_bytes = 0;
  int64_t table_bytes = 0;
  int64_t rows_per_table = 1;
  int64_t rows_per_pass = 1 << 16;  // of each thread
};

// Reads random rows from memory (2 GB on huge pages) as fast as the machine
// can: the limit that lookups are measured against. The bandwidth of a shared
// machine's memory changes by factors from one second to the next, so passes
// are to be taken beside the measurements that they are compared with.
class RandomRowReader {
 public:
  // Finds the best of several ways to prefetch, which takes about a second.
  RandomRowReader(const RowPattern& pattern, int num_threads);

  // Bytes per second of one pass.
  double Bandwidth();

 private:
  struct Distances;
  static const Distances kDistances[];
  template <int64_t kRowBytes>
  uint64_t ReadRows(const int64_t* offsets, const Distances& distances) const;
  uint64_t ReadRowsOfAnySize(const int64_t* offsets,
                             const Distances& distances) const;
  double Pass(const Distances& distances);

  const int64_t row_bytes_;
  const int64_t rows_per_pass_;
  ThreadPool pool_;
  AlignedBuffer table_;
  std::vector<int64_t> offsets_;
  size_t next_pass_ = 0;
  const Distances* best_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_LOOKUP_MEMORY_BANDWIDTH_H_
