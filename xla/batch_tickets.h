#ifndef TF_EMBED_XLA_BATCH_TICKETS_H_
#define TF_EMBED_XLA_BATCH_TICKETS_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "tf_embed/engine/engine.h"

namespace tf_embed {

// Received batches by number: a compiled program can hand on a number between
// its calls, but no pointer that somebody must free.
class BatchTickets {
 public:
  struct Entry {
    std::weak_ptr<Engine> engine;
    ReceivedBatches batches;
  };

  // Never 0.
  int64_t Add(Entry entry);

  // False where there is no such ticket, or it was forgotten.
  bool Find(int64_t ticket, Entry* entry) const;

 private:
  // A program that only looks up never says that it is done with a ticket, so
  // the oldest go. Steps overlap by a few at most.
  static constexpr size_t kCapacity = 256;

  mutable std::mutex mutex_;
  int64_t last_ = 0;
  std::deque<std::pair<int64_t, Entry>> entries_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_XLA_BATCH_TICKETS_H_
