#include "tf_embed/engine/step_protocol.h"

#include <algorithm>
#include <atomic>
#include <utility>

namespace tf_embed {

namespace {

int64_t NextId() {
  static std::atomic<int64_t> next{0};
  return next++;
}

}  // namespace

StepProtocol::StepProtocol(int num_cores, bool pipelined)
    : id_(NextId()), pipelined_(pipelined), cores_(num_cores) {}

void StepProtocol::Enqueue(int core, ObjectPool<Batch>::Lease batch) {
  Core& state = cores_[core];
  const int64_t step = batch->mode == Mode::kInference ? -1 : state.next_step++;
  state.queue.push_back(
      std::make_shared<ReceivedBatch>(id_, core, step, std::move(batch)));
  ++batches_enqueued_;
}

int64_t StepProtocol::AddWaiter(const Caller& caller,
                                Engine::ReceiveCallback done) {
  const int64_t ticket = next_ticket_++;
  waiters_.push_back({ticket, caller, std::move(done)});
  by_ticket_[ticket] = std::prev(waiters_.end());
  return ticket;
}

Engine::ReceiveCallback StepProtocol::RemoveWaiter(int64_t ticket) {
  const auto found = by_ticket_.find(ticket);
  if (found == by_ticket_.end()) return nullptr;
  Engine::ReceiveCallback done = std::move(found->second->done);
  waiters_.erase(found->second);
  by_ticket_.erase(found);
  return done;
}

std::vector<Engine::ReceiveCallback> StepProtocol::RemoveAllWaiters() {
  std::vector<Engine::ReceiveCallback> callbacks;
  for (Waiter& waiter : waiters_) callbacks.push_back(std::move(waiter.done));
  waiters_.clear();
  by_ticket_.clear();
  return callbacks;
}

std::string StepProtocol::WhyWaiting(int64_t ticket) const {
  const auto found = by_ticket_.find(ticket);
  if (found == by_ticket_.end()) return "nothing";
  const CoreRange cores = found->second->caller.cores;
  for (int c = cores.first; c < cores.first + cores.count; ++c) {
    if (cores_[c].queue.empty()) {
      return StrCat("core ", c, " has no enqueued batch");
    }
  }
  const auto step = steps_.find(steps_complete_);
  if (step != steps_.end()) {
    for (int c = 0; c < num_cores(); ++c) {
      if (step->second->cores[c].batch == nullptr) {
        return StrCat("core ", c, " has not sent the gradients of step ",
                      step->first);
      }
    }
  }
  return StrCat("core ", cores.first, " waits for earlier work");
}

StepProtocol::Readiness StepProtocol::CanReceive(int core) const {
  const Core& state = cores_[core];
  if (state.queue.empty()) return Readiness::kNotYet;
  const ReceivedBatch& head = *state.queue.front();
  if (head.batch().mode == Mode::kBackwardPassOnly) {
    return Readiness::kBackwardPassOnly;
  }
  if (state.sent_incomplete > 0) return Readiness::kNotYet;
  // The update of two steps ago may still be held for other cores' lookups,
  // but this lookup has to include it.
  const int64_t needed = head.step() - 1;  // updates
  if (pipelined_ && head.is_training() && steps_complete_ >= needed &&
      steps_updated_ < needed) {
    return Readiness::kNotYet;
  }
  return Readiness::kReady;
}

StepProtocol::Readiness StepProtocol::CanReceive(CoreRange cores,
                                                 int* backward_core) const {
  Readiness all = Readiness::kReady;
  for (int c = cores.first; c < cores.first + cores.count; ++c) {
    const Readiness one = CanReceive(c);
    if (one == Readiness::kBackwardPassOnly) {
      *backward_core = c;
      return one;
    }
    if (one == Readiness::kNotYet) all = one;
  }
  return all;
}

ReceivedBatches StepProtocol::Receive(const Caller& caller) {
  const CoreRange cores = caller.cores;
  ReceivedBatches batches;
  for (int c = cores.first; c < cores.first + cores.count; ++c) {
    Core& state = cores_[c];
    batches.push_back(std::move(state.queue.front()));
    state.queue.pop_front();
    batches.back()->set_run(caller.run);
    state.received_inference = !batches.back()->is_training();
    if (batches.back()->is_training()) state.unsent.push_back(batches.back());
    ++batches_received_;
  }
  return batches;
}

std::vector<Delivery> StepProtocol::TakeDeliveries() {
  std::vector<Delivery> deliveries;
  if (waiters_.empty()) return deliveries;
  std::vector<bool> taken(cores_.size(), false);  // an earlier waiter's turn
  for (auto waiter = waiters_.begin(); waiter != waiters_.end();) {
    const CoreRange cores = waiter->caller.cores;
    const auto first = taken.begin() + cores.first;
    const auto last = first + cores.count;
    int backward_core = -1;
    const Readiness readiness = std::find(first, last, true) != last
                                    ? Readiness::kNotYet
                                    : CanReceive(cores, &backward_core);
    if (readiness == Readiness::kNotYet) {
      std::fill(first, last, true);
      ++waiter;
      continue;
    }
    const auto result = [&]() -> StatusOr<ReceivedBatches> {
      if (readiness == Readiness::kReady) return Receive(waiter->caller);
      return FailedPrecondition(
          "The next batch of core ", backward_core,
          " was enqueued as backward_pass_only: it has no activations; send "
          "its gradients first.");
    };
    deliveries.push_back({waiter->ticket, std::move(waiter->done), result()});
    by_ticket_.erase(waiter->ticket);
    waiter = waiters_.erase(waiter);
  }
  return deliveries;
}

StatusOr<std::shared_ptr<ReceivedBatch>> StepProtocol::FindUnsent(
    int core, int64_t run) const {
  const Core& state = cores_[core];
  if (!state.unsent.empty()) {
    const std::shared_ptr<ReceivedBatch>& oldest = state.unsent.front();
    if (run == 0 || oldest->run() == run) return oldest;
    for (const std::shared_ptr<ReceivedBatch>& batch : state.unsent) {
      if (batch->run() != run) continue;
      return FailedPrecondition(
          "Core ", core, " received training batch ", oldest->step(),
          " in an earlier run, which sent no gradients for it, and batch ",
          batch->step(),
          " in this one. Did the earlier run fail? Drop what it has left with "
          "tf_embed.discard_batches(), then enqueue again.");
    }
    return oldest;
  }
  if (!state.queue.empty() &&
      state.queue.front()->batch().mode == Mode::kBackwardPassOnly) {
    return state.queue.front();
  }
  return FailedPrecondition(
      "Core ", core, " has no received training batch that awaits gradients",
      state.received_inference
          ? "; its last batch was enqueued for inference, which takes none."
          : ".");
}

Status StepProtocol::CheckUnsent(
    int core, const std::shared_ptr<ReceivedBatch>& batch) const {
  if (batch == nullptr || batch->owner() != id_) {
    return FailedPrecondition(
        "The batch was received from another TPU embedding engine than the "
        "active one.");
  }
  if (batch->core() != core) {
    return InvalidArgument("The batch was received on core ", batch->core(),
                           ", but its gradients are sent on core ", core, ".");
  }
  if (!batch->is_training()) {
    return FailedPrecondition("The batch of core ", core,
                              " was enqueued for inference; it takes no "
                              "gradients.");
  }
  const auto& unsent = cores_[core].unsent;
  if (std::find(unsent.begin(), unsent.end(), batch) == unsent.end()) {
    return FailedPrecondition("The gradients of step ", batch->step(),
                              " of core ", core,
                              " were sent already, or the batch was "
                              "discarded.");
  }
  return OkStatus();
}

StatusOr<ReceivedBatches> StepProtocol::FindUnsent(
    const Caller& caller, const ReceivedBatches* given) const {
  const CoreRange cores = caller.cores;
  if (given != nullptr) {
    if (given->size() != static_cast<size_t>(cores.count)) {
      return InvalidArgument("Gradients of ", cores.count, " cores for ",
                             given->size(), " received batches.");
    }
    for (int i = 0; i < cores.count; ++i) {
      TF_EMBED_RETURN_IF_ERROR(CheckUnsent(cores.first + i, (*given)[i]));
    }
    return *given;
  }
  ReceivedBatches batches;
  for (int c = cores.first; c < cores.first + cores.count; ++c) {
    TF_EMBED_ASSIGN_OR_RETURN(std::shared_ptr<ReceivedBatch> batch,
                              FindUnsent(c, caller.run));
    batches.push_back(std::move(batch));
  }
  return batches;
}

bool StepProtocol::Send(const ReceivedBatches& batches,
                        std::vector<CoreGradients> gradients,
                        Span<const float> learning_rates) {
  bool completes = false;
  for (size_t i = 0; i < batches.size(); ++i) {
    const std::shared_ptr<ReceivedBatch>& batch = batches[i];
    Core& state = cores_[batch->core()];
    if (batch->batch().mode == Mode::kBackwardPassOnly) {
      state.queue.pop_front();
      MarkLookedUp(*batch);  // as far as it will ever be
    } else {
      state.unsent.erase(
          std::find(state.unsent.begin(), state.unsent.end(), batch));
    }
    ++state.sent_incomplete;

    std::unique_ptr<Step>& step = steps_[batch->step()];
    if (step == nullptr) {
      step = std::make_unique<Step>();
      step->number = batch->step();
      step->cores.resize(cores_.size());
    }
    step->cores[batch->core()] = std::move(gradients[i]);
    step->cores[batch->core()].batch = batch;
    ++step->num_sent;
    step->learning_rates.assign(learning_rates.begin(), learning_rates.end());
    completes |= step->num_sent == num_cores();
  }
  return completes;
}

void StepProtocol::MarkLookedUp(const ReceivedBatch& batch) {
  int64_t& looked_up = cores_[batch.core()].looked_up;
  looked_up = std::max(looked_up, batch.step() + 1);
}

bool StepProtocol::AllLookedUp(int64_t step) const {
  return std::all_of(cores_.begin(), cores_.end(),
                     [&](const Core& core) { return core.looked_up > step; });
}

std::unique_ptr<Step> StepProtocol::TakeUpdate(bool flush) {
  while (true) {
    // Steps are numbered in the order in which they complete, so a step that
    // follows the last complete one is the first in the map.
    const auto next = steps_.begin();
    const bool next_is_sent = next != steps_.end() &&
                              next->first == steps_complete_ &&
                              next->second->num_sent == num_cores();
    if (held_ != nullptr &&
        (flush || next_is_sent || AllLookedUp(held_->number + 1))) {
      return std::move(held_);
    }
    if (!next_is_sent) return nullptr;
    std::unique_ptr<Step> step = std::move(next->second);
    steps_.erase(next);
    if (!pipelined_) return step;
    Complete(*step);
    held_ = std::move(step);
  }
}

void StepProtocol::FinishUpdate(const Step& step) {
  steps_updated_ = step.number + 1;
  if (!pipelined_) Complete(step);
}

void StepProtocol::Complete(const Step& step) {
  steps_complete_ = step.number + 1;
  for (Core& core : cores_) --core.sent_incomplete;
}

StepProtocol::Remains StepProtocol::Clear() {
  Remains remains;
  int64_t next_step = steps_complete_;
  for (const Core& core : cores_) {
    next_step = std::max(next_step, core.next_step);
  }
  for (Core& core : cores_) {
    remains.batches.push_back(std::move(core.queue));
    remains.batches.push_back(std::move(core.unsent));
    core = Core();
    core.next_step = core.looked_up = next_step;
  }
  for (auto& [number, step] : steps_) remains.steps.push_back(std::move(step));
  steps_.clear();
  if (held_ != nullptr) remains.steps.push_back(std::move(held_));
  steps_dropped_ += next_step - steps_complete_;
  steps_complete_ = steps_updated_ = next_step;
  return remains;
}

int64_t StepProtocol::Remains::num_batches() const {
  int64_t count = 0;
  for (const auto& queue : batches) count += queue.size();
  for (const auto& step : steps) count += step->num_sent;
  return count;
}

}  // namespace tf_embed
