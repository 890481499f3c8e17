#ifndef TF_EMBED_KERNELS_TF_EXECUTOR_H_
#define TF_EMBED_KERNELS_TF_EXECUTOR_H_

#include <cstdint>
#include <functional>

#include "tf_embed/base/executor.h"
#include "tsl/platform/denormal.h"

namespace tensorflow {
class OpKernelContext;
}  // namespace tensorflow
namespace tsl {
namespace thread {
class ThreadPool;
}  // namespace thread
}  // namespace tsl

namespace tf_embed {

// A thread pool that belongs to somebody else: the intra-op pool of the device
// that an op runs on, or whatever can schedule a task.
//
// The calling thread takes pieces like any other and waits only for pieces
// that another thread has begun. A pool whose threads are all busy, or all in
// here, therefore slows the call down but cannot hang it.
//
// TensorFlow's pool threads flush denormal numbers to zero and other threads
// do not, so every piece, and whatever the owner of a TfExecutor computes
// beside it, runs without flushing: the bits must not depend on the thread.
class TfExecutor final : public Executor {
 public:
  explicit TfExecutor(tensorflow::OpKernelContext* ctx);
  explicit TfExecutor(tsl::thread::ThreadPool* pool);

  // Starts a task in another thread, now or later.
  using Schedule = std::function<void(std::function<void()> task)>;
  TfExecutor(int num_threads, Schedule schedule);

  int num_threads() const override { return num_threads_; }
  void ParallelFor(int64_t num_pieces,
                   const std::function<void(int64_t)>& piece) override;

 private:
  const int num_threads_;
  const Schedule schedule_;
  const tsl::port::ScopedDontFlushDenormal exact_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_KERNELS_TF_EXECUTOR_H_
