#include "tf_embed/engine/timer.h"

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <utility>

namespace tf_embed {

struct Timer::State {
  using Calls = std::multimap<Clock::time_point,
                              std::pair<int64_t, std::function<void()>>>;

  void Loop();

  std::mutex mutex;
  std::condition_variable changed;
  Calls calls;
  std::unordered_map<int64_t, Calls::iterator> by_key;
  bool stopping = false;
  std::thread thread;
};

void Timer::State::Loop() {
  std::unique_lock<std::mutex> lock(mutex);
  while (!stopping) {
    if (calls.empty()) {
      changed.wait(lock);
      continue;
    }
    const Clock::time_point when = calls.begin()->first;
    if (Clock::now() < when) {
      changed.wait_until(lock, when);
      continue;
    }
    std::function<void()> call = std::move(calls.begin()->second.second);
    by_key.erase(calls.begin()->second.first);
    calls.erase(calls.begin());
    lock.unlock();
    call();
    call = nullptr;  // what it holds is released without the lock
    lock.lock();
  }
}

Timer::Timer() : state_(std::make_shared<State>()) {}

Timer::~Timer() {
  std::thread thread;
  {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->stopping = true;
    state_->by_key.clear();
    state_->changed.notify_all();
    thread = std::move(state_->thread);
  }
  if (!thread.joinable()) return;
  if (thread.get_id() == std::this_thread::get_id()) {
    thread.detach();
  } else {
    thread.join();
  }
}

void Timer::Schedule(int64_t key, Clock::time_point when,
                     std::function<void()> call) {
  std::lock_guard<std::mutex> lock(state_->mutex);
  state_->by_key[key] =
      state_->calls.emplace(when, std::make_pair(key, std::move(call)));
  if (!state_->thread.joinable()) {
    state_->thread = std::thread([state = state_] { state->Loop(); });
  }
  state_->changed.notify_all();
}

void Timer::Cancel(int64_t key) {
  std::lock_guard<std::mutex> lock(state_->mutex);
  const auto found = state_->by_key.find(key);
  if (found == state_->by_key.end()) return;
  state_->calls.erase(found->second);
  state_->by_key.erase(found);
}

}  // namespace tf_embed
