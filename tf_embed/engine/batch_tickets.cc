#include "tf_embed/engine/batch_tickets.h"

#include <algorithm>
#include <utility>

#include "tf_embed/engine/received_batch.h"

namespace tf_embed {

bool BatchTickets::Kept::IsForgotten() const {
  return engine.expired() ||
         std::any_of(batches.begin(), batches.end(),
                     [](const auto& batch) { return batch.expired(); });
}

BatchTickets& BatchTickets::Global() {
  static auto* tickets = new BatchTickets;
  return *tickets;
}

int64_t BatchTickets::Add(Entry entry) {
  Kept added;
  added.engine = std::move(entry.engine);
  added.cores = entry.cores;
  for (std::shared_ptr<ReceivedBatch>& batch : entry.batches) {
    added.batches.push_back(batch);
    if (!batch->is_training()) added.inference.push_back(std::move(batch));
  }
  std::vector<Kept> forgotten;  // released once the lock is given back
  std::lock_guard<std::mutex> lock(mutex_);
  int inference_batches = 1;
  for (size_t i = kept_.size(); i-- > 0;) {
    const bool too_old = !added.inference.empty() &&
                         !kept_[i].inference.empty() &&
                         kept_[i].cores.first == added.cores.first &&
                         ++inference_batches > kInferenceBatches;
    if (!too_old && !kept_[i].IsForgotten()) continue;
    forgotten.push_back(std::move(kept_[i]));
    kept_.erase(kept_.begin() + i);
  }
  last_ = last_ == INT32_MAX ? 1 : last_ + 1;
  added.ticket = last_;
  kept_.push_back(std::move(added));
  return last_;
}

bool BatchTickets::Find(int64_t ticket, Entry* entry) const {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found =
      std::find_if(kept_.rbegin(), kept_.rend(),
                   [&](const Kept& kept) { return kept.ticket == ticket; });
  if (found == kept_.rend() || found->IsForgotten()) return false;
  entry->engine = found->engine;
  entry->cores = found->cores;
  entry->batches.clear();
  for (const auto& batch : found->batches) {
    entry->batches.push_back(batch.lock());
    if (entry->batches.back() == nullptr) return false;
  }
  return true;
}

}  // namespace tf_embed
