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

// The intra-op pool of the device that an op runs on.
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
  explicit TfExecutor(tsl::thread::ThreadPool* pool) : pool_(pool) {}

  int num_threads() const override;
  void ParallelFor(int64_t num_pieces,
                   const std::function<void(int64_t)>& piece) override;

 private:
  tsl::thread::ThreadPool* const pool_;  // null: no pool
  const tsl::port::ScopedDontFlushDenormal exact_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_KERNELS_TF_EXECUTOR_H_
