#ifndef TF_EMBED_TF_EMBED_ENGINE_TIMER_H_
#define TF_EMBED_TF_EMBED_ENGINE_TIMER_H_

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>

namespace tf_embed {

// Calls functions at their time, in a thread of its own that starts with the
// first of them.
class Timer {
 public:
  using Clock = std::chrono::steady_clock;

  Timer();
  // Drops what is pending and waits for a call in progress, unless it is that
  // call which destroys the timer.
  ~Timer();
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

  // `key` names the call for Cancel; it must not be pending already.
  void Schedule(int64_t key, Clock::time_point when,
                std::function<void()> call);
  // Drops the call unless it has begun. Does not wait for it.
  void Cancel(int64_t key);

 private:
  struct State;
  // Shared with the thread, which may outlive a timer that its call destroys.
  std::shared_ptr<State> state_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_TIMER_H_
