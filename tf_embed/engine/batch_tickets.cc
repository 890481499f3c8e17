#include "tf_embed/engine/batch_tickets.h"

namespace tf_embed {

BatchTickets& BatchTickets::Global() {
  static auto* tickets = new BatchTickets;
  return *tickets;
}

int64_t BatchTickets::Add(Entry entry) {
  std::lock_guard<std::mutex> lock(mutex_);
  // An engine that was replaced must not be kept alive by its last batches.
  while (!entries_.empty() && (entries_.size() >= kCapacity ||
                               entries_.front().second.engine.expired())) {
    entries_.pop_front();
  }
  last_ = last_ == INT32_MAX ? 1 : last_ + 1;
  entries_.emplace_back(last_, std::move(entry));
  return last_;
}

bool BatchTickets::Find(int64_t ticket, Entry* entry) const {
  std::lock_guard<std::mutex> lock(mutex_);
  for (auto it = entries_.rbegin(); it != entries_.rend(); ++it) {
    if (it->first != ticket) continue;
    *entry = it->second;
    return true;
  }
  return false;
}

}  // namespace tf_embed
