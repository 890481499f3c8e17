#ifndef TF_EMBED_TF_EMBED_ENGINE_FAIR_SHARED_MUTEX_H_
#define TF_EMBED_TF_EMBED_ENGINE_FAIR_SHARED_MUTEX_H_

#include <condition_variable>
#include <mutex>

namespace tf_embed {

// A reader-writer lock (SharedMutex of the standard) that readers cannot keep a
// writer out of: glibc's std::shared_mutex lets new readers in while a writer
// waits, so that steady lookups would hold up updates for ever.
class FairSharedMutex {
 public:
  void lock() {
    std::unique_lock<std::mutex> lock(mutex_);
    ++writers_waiting_;
    changed_.wait(lock, [&] { return !writing_ && readers_ == 0; });
    --writers_waiting_;
    writing_ = true;
  }

  void unlock() {
    std::lock_guard<std::mutex> lock(mutex_);
    writing_ = false;
    changed_.notify_all();
  }

  void lock_shared() {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return !writing_ && writers_waiting_ == 0; });
    ++readers_;
  }

  void unlock_shared() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (--readers_ == 0) changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int readers_ = 0;
  int writers_waiting_ = 0;
  bool writing_ = false;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_FAIR_SHARED_MUTEX_H_
