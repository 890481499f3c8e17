#ifndef TF_EMBED_TF_EMBED_BASE_WORK_CLOCK_H_
#define TF_EMBED_TF_EMBED_BASE_WORK_CLOCK_H_

#include <atomic>
#include <chrono>
#include <cstdint>

namespace tf_embed {

// Nanoseconds, added up by any number of threads.
using TimeCounter = std::atomic<int64_t>;

// Tells for what a thread works: each counter gets the time from its Charge to
// the next one, or to the end of the scope. The clock is read only when the
// counter changes (below 100 ns), so pieces of work of one kind cost nothing
// more.
class WorkClock {
 public:
  WorkClock() = default;
  explicit WorkClock(TimeCounter* counter) { Charge(counter); }
  WorkClock(const WorkClock&) = delete;
  WorkClock& operator=(const WorkClock&) = delete;
  ~WorkClock() { Charge(nullptr); }

  // Null: what follows is not counted.
  void Charge(TimeCounter* counter) {
    if (counter == counter_) return;
    const Clock::time_point now = Clock::now();
    if (counter_ != nullptr) {
      const std::chrono::nanoseconds elapsed = now - start_;
      counter_->fetch_add(elapsed.count(), std::memory_order_relaxed);
    }
    counter_ = counter;
    start_ = now;
  }

 private:
  using Clock = std::chrono::steady_clock;

  TimeCounter* counter_ = nullptr;
  Clock::time_point start_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_BASE_WORK_CLOCK_H_
