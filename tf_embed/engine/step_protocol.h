#ifndef TF_EMBED_TF_EMBED_ENGINE_STEP_PROTOCOL_H_
#define TF_EMBED_TF_EMBED_ENGINE_STEP_PROTOCOL_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "tf_embed/base/span.h"
#include "tf_embed/base/status.h"
#include "tf_embed/engine/engine.h"
#include "tf_embed/engine/received_batch.h"

namespace tf_embed {

// What one core sent for a step.
struct CoreGradients {
  std::shared_ptr<ReceivedBatch> batch;  // null until sent
  std::vector<const float*> gradients;   // per feature: [P, D]
  std::shared_ptr<void> keep_alive;      // owns the gradients
};

// The training batches of equal number on all cores, and their joint update.
struct Step {
  int64_t number = 0;
  int num_sent = 0;
  std::vector<CoreGradients> cores;
  std::vector<float> learning_rates;  // of the last Send
};

// A receive whose time has come. Call `done` without holding a lock.
struct Delivery {
  int64_t ticket = 0;
  Engine::ReceiveCallback done;
  StatusOr<ReceivedBatches> result;
};

// Who may do what when: the order of batches, receives, sends and updates of
// all cores. Knows nothing of tables and threads; the caller synchronizes.
//
// The k-th training batches of all cores form step k. A step is complete once
// all cores have sent their gradients and the update has run (without
// pipelining) or is being held (with it). Steps complete in order.
//
// A core may receive when every step that it has sent is complete, so that
// what it looks up next includes them. With pipelining, the lookup of step n
// includes the updates to n - 2: that of n - 1 is held until all cores have
// looked up step n.
class StepProtocol {
 public:
  StepProtocol(int num_cores, bool pipelined);
  StepProtocol(const StepProtocol&) = delete;
  StepProtocol& operator=(const StepProtocol&) = delete;

  void Enqueue(int core, ObjectPool<Batch>::Lease batch);

  // Receiving: waiters are served per core in the order of their arrival.
  int64_t AddWaiter(const Caller& caller, Engine::ReceiveCallback done);
  // Null where no such waiter is left.
  Engine::ReceiveCallback RemoveWaiter(int64_t ticket);
  std::vector<Engine::ReceiveCallback> RemoveAllWaiters();
  bool IsWaiting(int64_t ticket) const { return by_ticket_.count(ticket) > 0; }
  // What the waiter waits for, for messages.
  std::string WhyWaiting(int64_t ticket) const;
  // Serves all waiters that can be served.
  std::vector<Delivery> TakeDeliveries();

  // Sending: the batches that a Send of the caller refers to, or why not.
  StatusOr<ReceivedBatches> FindUnsent(const Caller& caller,
                                       const ReceivedBatches* given) const;
  // gradients[i] belongs to batches[i], which FindUnsent has just returned.
  // Whether these were the last gradients of a step.
  bool Send(const ReceivedBatches& batches,
            std::vector<CoreGradients> gradients,
            Span<const float> learning_rates);
  // A training batch has been looked up.
  void MarkLookedUp(const ReceivedBatch& batch);

  // The next update to run, or null. flush: a held one too. The caller runs
  // one at a time, and calls FinishUpdate after each.
  std::unique_ptr<Step> TakeUpdate(bool flush);
  void FinishUpdate(const Step& step);

  // Drops all batches and steps, a held one too; hands them over to be released
  // elsewhere. What is enqueued later begins a new step.
  struct Remains {
    std::vector<std::deque<std::shared_ptr<ReceivedBatch>>> batches;
    std::vector<std::unique_ptr<Step>> steps;

    int64_t num_batches() const;
  };
  Remains Clear();

  int64_t id() const { return id_; }
  int num_cores() const { return static_cast<int>(cores_.size()); }
  int64_t queue_depth(int core) const { return cores_[core].queue.size(); }
  int64_t batches_enqueued() const { return batches_enqueued_; }
  int64_t batches_received() const { return batches_received_; }
  int64_t steps_completed() const { return steps_complete_ - steps_dropped_; }

 private:
  struct Core {
    std::deque<std::shared_ptr<ReceivedBatch>> queue;   // not yet received
    std::deque<std::shared_ptr<ReceivedBatch>> unsent;  // received training
    int64_t next_step = 0;        // number of the next training batch enqueued
    int64_t looked_up = 0;        // steps below this have been looked up
    int64_t sent_incomplete = 0;  // steps sent that are not complete
    bool received_inference = false;  // the last batch received was
  };
  struct Waiter {
    int64_t ticket;
    Caller caller;
    Engine::ReceiveCallback done;
  };
  enum class Readiness { kNotYet, kReady, kBackwardPassOnly };

  Readiness CanReceive(int core) const;
  Readiness CanReceive(CoreRange cores, int* backward_core) const;
  ReceivedBatches Receive(const Caller& caller);
  StatusOr<std::shared_ptr<ReceivedBatch>> FindUnsent(int core,
                                                      int64_t run) const;
  Status CheckUnsent(int core,
                     const std::shared_ptr<ReceivedBatch>& batch) const;
  bool AllLookedUp(int64_t step) const;
  void Complete(const Step& step);

  const int64_t id_;
  const bool pipelined_;
  std::vector<Core> cores_;
  std::list<Waiter> waiters_;
  std::unordered_map<int64_t, std::list<Waiter>::iterator> by_ticket_;
  int64_t next_ticket_ = 1;

  std::map<int64_t, std::unique_ptr<Step>> steps_;  // sent in part, or in full
  std::unique_ptr<Step> held_;  // complete, its update put off
  int64_t steps_complete_ = 0;  // steps below this are complete
  int64_t steps_updated_ = 0;   // the updates of steps below this have run
  int64_t steps_dropped_ = 0;   // count as complete
  int64_t batches_enqueued_ = 0;
  int64_t batches_received_ = 0;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_STEP_PROTOCOL_H_
