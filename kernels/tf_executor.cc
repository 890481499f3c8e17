#include "kernels/tf_executor.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

#include "tensorflow/core/framework/device_base.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/platform/threadpool.h"
#include "tsl/platform/denormal.h"

namespace tf_embed {
namespace {

// Outlives the call: a helper that the pool starts late finds no piece left
// and must not touch anything of the caller's.
class Region {
 public:
  Region(int64_t num_pieces, const std::function<void(int64_t)>* piece)
      : num_pieces_(num_pieces), piece_(piece) {}

  void Work() {
    const tsl::port::ScopedDontFlushDenormal exact;
    int64_t done = 0;
    for (;;) {
      const int64_t i = next_.fetch_add(1, std::memory_order_relaxed);
      if (i >= num_pieces_) break;
      (*piece_)(i);
      ++done;
    }
    if (done == 0) return;
    std::lock_guard<std::mutex> lock(mutex_);
    num_done_ += done;
    if (num_done_ == num_pieces_) all_done_.notify_all();
  }

  void Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    all_done_.wait(lock, [this] { return num_done_ == num_pieces_; });
  }

 private:
  const int64_t num_pieces_;
  const std::function<void(int64_t)>* const piece_;
  std::atomic<int64_t> next_{0};
  std::mutex mutex_;
  std::condition_variable all_done_;
  int64_t num_done_ = 0;
};

tsl::thread::ThreadPool* PoolOf(tensorflow::OpKernelContext* ctx) {
  const auto* workers = ctx->device()->tensorflow_cpu_worker_threads();
  return workers == nullptr ? nullptr : workers->workers;
}

}  // namespace

TfExecutor::TfExecutor(tensorflow::OpKernelContext* ctx)
    : TfExecutor(PoolOf(ctx)) {}

TfExecutor::TfExecutor(tsl::thread::ThreadPool* pool)
    : TfExecutor(pool == nullptr ? 1 : pool->NumThreads(),
                 [pool](std::function<void()> task) {
                   pool->Schedule(std::move(task));
                 }) {}

TfExecutor::TfExecutor(int num_threads, Schedule schedule)
    : num_threads_(std::max(1, num_threads)), schedule_(std::move(schedule)) {}

void TfExecutor::ParallelFor(int64_t num_pieces,
                             const std::function<void(int64_t)>& piece) {
  const int64_t helpers = std::min<int64_t>(num_threads_, num_pieces) - 1;
  if (helpers <= 0) {
    for (int64_t i = 0; i < num_pieces; ++i) piece(i);
    return;
  }
  auto region = std::make_shared<Region>(num_pieces, &piece);
  for (int64_t i = 0; i < helpers; ++i) {
    schedule_([region] { region->Work(); });
  }
  region->Work();
  region->Wait();
}

}  // namespace tf_embed
