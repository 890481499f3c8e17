#ifndef TF_EMBED_TF_EMBED_ENGINE_BATCH_TICKETS_H_
#define TF_EMBED_TF_EMBED_ENGINE_BATCH_TICKETS_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <utility>

#include "tf_embed/engine/engine.h"

namespace tf_embed {

// Received batches by number: tensors and the calls of a compiled program can
// hand on a number, but no pointer that somebody must free.
class BatchTickets {
 public:
  struct Entry {
    std::weak_ptr<Engine> engine;
    CoreRange cores;
    ReceivedBatches batches;
  };

  // Those of the process. The kernels and compiled programs share them, so
  // that a number of one may be handed to the other.
  static BatchTickets& Global();

  // Never 0, and always in the range of int32.
  int64_t Add(Entry entry);

  // False where there is no such ticket, or it was forgotten.
  bool Find(int64_t ticket, Entry* entry) const;

 private:
  // Nobody says that a ticket is no longer wanted, so the oldest go. Steps
  // overlap by a few at most.
  static constexpr size_t kCapacity = 256;

  mutable std::mutex mutex_;
  int64_t last_ = 0;
  std::deque<std::pair<int64_t, Entry>> entries_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_BATCH_TICKETS_H_
