#ifndef TF_EMBED_TF_EMBED_BASE_EXECUTOR_H_
#define TF_EMBED_TF_EMBED_BASE_EXECUTOR_H_

#include <algorithm>
#include <cstdint>
#include <functional>

namespace tf_embed {

// Runs independent pieces of work on several threads. The kernels hand in an
// adapter to TensorFlow's own pool; tests and benchmarks a ThreadPool.
//
// Results must not depend on the number of threads: callers cut the work into
// pieces that write to disjoint memory, and never add across pieces.
class Executor {
 public:
  virtual ~Executor() = default;

  // Threads that can work at a time, the caller's included; at least 1.
  virtual int num_threads() const = 0;

  // Calls `piece(i)` once for each i in [0, num_pieces), from any thread and
  // in any order; returns when all have returned. The caller works too.
  virtual void ParallelFor(int64_t num_pieces,
                           const std::function<void(int64_t)>& piece) = 0;
};

// Cuts [0, n) evenly into ranges of at least `min_size` (fewer
// elements make one range), a few for each thread so that all finish at about
// a time, and calls range(begin, end) for each.
template <class Range>
void ParallelRanges(Executor& executor, int64_t n, int64_t min_size,
                    const Range& range) {
  constexpr int64_t kRangesPerThread = 4;
  const int64_t num_ranges =
      std::clamp<int64_t>(n / std::max<int64_t>(min_size, 1), 1,
                          executor.num_threads() * kRangesPerThread);
  const int64_t size = n / num_ranges;
  const int64_t rest = n % num_ranges;  // the first ranges have one more
  executor.ParallelFor(num_ranges, [&](int64_t i) {
    const int64_t begin = i * size + std::min(i, rest);
    range(begin, begin + size + (i < rest ? 1 : 0));
  });
}

// Everything in the caller's thread.
class SerialExecutor final : public Executor {
 public:
  int num_threads() const override { return 1; }
  void ParallelFor(int64_t num_pieces,
                   const std::function<void(int64_t)>& piece) override {
    for (int64_t i = 0; i < num_pieces; ++i) piece(i);
  }
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_BASE_EXECUTOR_H_
