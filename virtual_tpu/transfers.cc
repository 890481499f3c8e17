#include "virtual_tpu/transfers.h"

#include <memory>
#include <vector>

#include "virtual_tpu/options.h"

namespace tf_embed::virtual_tpu {
namespace {

// Infeeds hold a few batches: the host runs ahead, but not for ever. Outfeeds
// hold more, since training loops often read them only at their end.
constexpr size_t kInfeedCapacity = 16;
constexpr size_t kOutfeedCapacity = 1024;

using Queues = std::vector<std::unique_ptr<TransferQueue>>;

Queues* MakeQueues(size_t capacity) {
  auto* queues = new Queues;
  for (int core = 0; core < kMaxCores; ++core) {
    queues->push_back(std::make_unique<TransferQueue>(capacity));
  }
  return queues;
}

Queues& AllQueues(Direction direction) {
  static Queues* const infeeds = MakeQueues(kInfeedCapacity);
  static Queues* const outfeeds = MakeQueues(kOutfeedCapacity);
  return direction == Direction::kInfeed ? *infeeds : *outfeeds;
}

}  // namespace

TransferQueue& CoreQueue(Direction direction, int core) {
  return *AllQueues(direction)[core];
}

void ResetTransfers() {
  for (Direction direction : {Direction::kInfeed, Direction::kOutfeed}) {
    for (auto& queue : AllQueues(direction)) queue->Reset();
  }
}

}  // namespace tf_embed::virtual_tpu
