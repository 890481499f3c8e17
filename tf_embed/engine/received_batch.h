#ifndef TF_EMBED_TF_EMBED_ENGINE_RECEIVED_BATCH_H_
#define TF_EMBED_TF_EMBED_ENGINE_RECEIVED_BATCH_H_

#include <cstdint>
#include <utility>

#include "tf_embed/base/object_pool.h"
#include "tf_embed/engine/batch.h"

namespace tf_embed {

// A batch with its place in the order of steps. Opaque to users of the engine.
class ReceivedBatch {
 public:
  ReceivedBatch(int64_t owner, int core, int64_t step,
                ObjectPool<Batch>::Lease batch)
      : owner_(owner), core_(core), step_(step), batch_(std::move(batch)) {}

  // Number of the StepProtocol, unique in the process, that made it.
  int64_t owner() const { return owner_; }
  int core() const { return core_; }
  // This is the core's training batch number `step`; -1: an inference batch.
  int64_t step() const { return step_; }
  bool is_training() const { return step_ >= 0; }
  // The run that received it, as in Caller.
  int64_t run() const { return run_; }
  void set_run(int64_t run) { run_ = run; }
  const Batch& batch() const { return *batch_; }

 private:
  int64_t owner_;
  int core_;
  int64_t step_;
  int64_t run_ = 0;
  ObjectPool<Batch>::Lease batch_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_RECEIVED_BATCH_H_
