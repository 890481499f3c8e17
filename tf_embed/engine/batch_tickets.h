#ifndef TF_EMBED_TF_EMBED_ENGINE_BATCH_TICKETS_H_
#define TF_EMBED_TF_EMBED_ENGINE_BATCH_TICKETS_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

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

  // False where there is no such ticket, or it was forgotten: its engine was
  // replaced, its gradients are applied, or it was for inference and its cores
  // have received many since.
  bool Find(int64_t ticket, Entry* entry) const;

 private:
  // Nobody says that a ticket of an inference batch is no longer wanted, so all
  // but the last of its cores go. Steps overlap by a few at most.
  static constexpr int kInferenceBatches = 8;

  struct Kept {
    int64_t ticket = 0;
    std::weak_ptr<Engine> engine;
    CoreRange cores;
    // The engine holds a training batch until its gradients are applied.
    std::vector<std::weak_ptr<ReceivedBatch>> batches;
    ReceivedBatches inference;  // which nobody else holds

    bool IsForgotten() const;
  };

  mutable std::mutex mutex_;
  int64_t last_ = 0;
  std::deque<Kept> kept_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_BATCH_TICKETS_H_
