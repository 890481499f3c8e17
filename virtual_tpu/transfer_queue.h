#ifndef TF_EMBED_VIRTUAL_TPU_TRANSFER_QUEUE_H_
#define TF_EMBED_VIRTUAL_TPU_TRANSFER_QUEUE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>

#include "tf_embed/base/status.h"

namespace tf_embed::virtual_tpu {

// Items on their way between the host and a core: an infeed or an outfeed.
// Blocks no thread; every wait can be cancelled by its ticket. Bounded, as the
// hardware's buffers are: a host that feeds faster than the core eats waits.
class TransferQueue {
 public:
  using Item = std::shared_ptr<void>;
  using PutDone = std::function<void(const Status&)>;
  using TakeDone = std::function<void(StatusOr<Item>)>;

  explicit TransferQueue(size_t capacity) : capacity_(capacity) {}

  // A ticket comes before the call, so that no cancellation is lost.
  int64_t NewTicket();
  void Put(int64_t ticket, Item item, PutDone done);
  void Take(int64_t ticket, TakeDone done);
  void Cancel(int64_t ticket);

  // Throws away what is inside and fails what waits with Aborted: the TPU
  // system was shut down or initialised again.
  void Reset();

 private:
  struct Putter {
    int64_t ticket;
    Item item;
    PutDone done;
  };
  struct Taker {
    int64_t ticket;
    TakeDone done;
  };

  // True, and the ticket is spent, if it was cancelled before its call came.
  bool SpendTicket(int64_t ticket);
  // Moves items as far as they go, then calls back without the lock.
  void Settle(std::unique_lock<std::mutex> lock);

  const size_t capacity_;
  std::mutex mu_;
  int64_t next_ticket_ = 1;
  std::set<int64_t> unused_;     // tickets whose call has not come
  std::set<int64_t> cancelled_;  // of those
  std::deque<Item> items_;
  std::deque<Putter> putters_;
  std::deque<Taker> takers_;
};

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_TRANSFER_QUEUE_H_
