#ifndef TF_EMBED_TF_EMBED_BASE_THREAD_POOL_H_
#define TF_EMBED_TF_EMBED_BASE_THREAD_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "tf_embed/base/executor.h"

namespace tf_embed {

// A fork-join pool for tests, benchmarks and programs without TensorFlow.
// ParallelFor may be called from several threads, which then take turns; a
// piece must not call ParallelFor on the pool that runs it.
class ThreadPool final : public Executor {
 public:
  // `num_threads` (at least 1) counts the caller of ParallelFor.
  explicit ThreadPool(int num_threads);
  ~ThreadPool() override;
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int num_threads() const override {
    return static_cast<int>(workers_.size()) + 1;
  }
  void ParallelFor(int64_t num_pieces,
                   const std::function<void(int64_t)>& piece) override;

 private:
  void WorkerLoop();
  void RunPieces(const std::function<void(int64_t)>& piece, int64_t num_pieces);

  std::mutex turn_;  // held by the one ParallelFor in progress

  std::mutex mutex_;
  std::condition_variable job_posted_;
  std::condition_variable workers_idle_;
  int64_t job_number_ = 0;  // the next five are guarded by mutex_
  int busy_workers_ = 0;
  bool stopping_ = false;
  const std::function<void(int64_t)>* piece_ = nullptr;
  int64_t num_pieces_ = 0;

  std::atomic<int64_t> next_piece_{0};
  std::vector<std::thread> workers_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_BASE_THREAD_POOL_H_
