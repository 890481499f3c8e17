#ifndef TF_EMBED_VIRTUAL_TPU_TRANSFERS_H_
#define TF_EMBED_VIRTUAL_TPU_TRANSFERS_H_

#include "virtual_tpu/transfer_queue.h"

namespace tf_embed::virtual_tpu {

enum class Direction { kInfeed, kOutfeed };

// The queue of a core, 0 to kMaxCores - 1. Lives as long as the process.
TransferQueue& CoreQueue(Direction direction, int core);

// Empties all queues and fails what waits.
void ResetTransfers();

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_TRANSFERS_H_
