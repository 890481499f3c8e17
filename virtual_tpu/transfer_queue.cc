#include "virtual_tpu/transfer_queue.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace tf_embed::virtual_tpu {
namespace {

Status CancelledTransfer() {
  return Cancelled("a wait for the infeed or outfeed was cancelled");
}

template <typename Waiters>
auto Find(Waiters& waiters, int64_t ticket) {
  return std::find_if(waiters.begin(), waiters.end(),
                      [&](const auto& w) { return w.ticket == ticket; });
}

}  // namespace

int64_t TransferQueue::NewTicket() {
  std::lock_guard<std::mutex> lock(mu_);
  unused_.insert(next_ticket_);
  return next_ticket_++;
}

bool TransferQueue::SpendTicket(int64_t ticket) {
  unused_.erase(ticket);
  return cancelled_.erase(ticket) > 0;
}

void TransferQueue::Put(int64_t ticket, Item item, PutDone done) {
  std::unique_lock<std::mutex> lock(mu_);
  if (SpendTicket(ticket)) {
    lock.unlock();
    done(CancelledTransfer());
    return;
  }
  putters_.push_back({ticket, std::move(item), std::move(done)});
  Settle(std::move(lock));
}

void TransferQueue::Take(int64_t ticket, TakeDone done) {
  std::unique_lock<std::mutex> lock(mu_);
  if (SpendTicket(ticket)) {
    lock.unlock();
    done(CancelledTransfer());
    return;
  }
  takers_.push_back({ticket, std::move(done)});
  Settle(std::move(lock));
}

void TransferQueue::Settle(std::unique_lock<std::mutex> lock) {
  std::vector<std::function<void()>> calls;
  bool moved = true;
  while (moved) {
    moved = false;
    if (!putters_.empty() && items_.size() < capacity_) {
      items_.push_back(std::move(putters_.front().item));
      calls.push_back(
          [done = std::move(putters_.front().done)] { done(OkStatus()); });
      putters_.pop_front();
      moved = true;
    }
    if (!takers_.empty() && !items_.empty()) {
      calls.push_back([done = std::move(takers_.front().done),
                       item = std::move(items_.front())] { done(item); });
      takers_.pop_front();
      items_.pop_front();
      moved = true;
    }
  }
  lock.unlock();
  for (const auto& call : calls) call();
}

void TransferQueue::Cancel(int64_t ticket) {
  PutDone put;
  TakeDone take;
  {
    std::lock_guard<std::mutex> lock(mu_);
    if (unused_.count(ticket) > 0) cancelled_.insert(ticket);
    if (auto it = Find(putters_, ticket); it != putters_.end()) {
      put = std::move(it->done);
      putters_.erase(it);
    }
    if (auto it = Find(takers_, ticket); it != takers_.end()) {
      take = std::move(it->done);
      takers_.erase(it);
    }
  }
  if (put) put(CancelledTransfer());
  if (take) take(CancelledTransfer());
}

void TransferQueue::Reset() {
  std::deque<Putter> putters;
  std::deque<Taker> takers;
  {
    std::lock_guard<std::mutex> lock(mu_);
    items_.clear();
    putters.swap(putters_);
    takers.swap(takers_);
  }
  const Status status = Aborted("the TPU system was initialised or shut down");
  for (const Putter& putter : putters) putter.done(status);
  for (const Taker& taker : takers) taker.done(status);
}

}  // namespace tf_embed::virtual_tpu
