#ifndef TF_EMBED_TF_EMBED_LOOKUP_POOLED_LOOKUP_H_
#define TF_EMBED_TF_EMBED_LOOKUP_POOLED_LOOKUP_H_

#include <cstdint>

#include "tf_embed/base/executor.h"
#include "tf_embed/base/span.h"
#include "tf_embed/base/work_clock.h"
#include "tf_embed/lookup/pooled_ids.h"
#include "tf_embed/optimizers/optimizer_config.h"

namespace tf_embed {

// One feature to look up.
template <typename Id>  // int64_t or int32_t
struct BasicLookupTask {
  BasicPooledIds<Id> ids;
  const float* weights = nullptr;  // table, [V, D]
  int64_t dim = 0;
  const SimulatedQuantization* quantization = nullptr;  // or null: none
  float* output = nullptr;  // [P, D], overwritten; any alignment
  // If not null, gets the time that threads spend on this task, summed.
  TimeCounter* time_ns = nullptr;
};
using LookupTask = BasicLookupTask<int64_t>;

// For each task, each position p and each column k:
//
//   scale = scales empty ? 1 : scales[p]
//   sum = 0
//   for j in [begin(p), end(p)): sum += w_j * q(weights[ids[j] * D + k])
//   output[p * D + k] = scale * sum
//
// in float32, ids in their order (with fused multiply-add where the target has
// it); q is simulated quantization or the identity. All tasks are done in one
// parallel region, cut by cost. Ids must have been checked.
void PooledLookup(Span<const BasicLookupTask<int64_t>> tasks,
                  Executor& executor);
void PooledLookup(Span<const BasicLookupTask<int32_t>> tasks,
                  Executor& executor);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_LOOKUP_POOLED_LOOKUP_H_
