#ifndef TF_EMBED_TF_EMBED_LOOKUP_POOLED_LOOKUP_H_
#define TF_EMBED_TF_EMBED_LOOKUP_POOLED_LOOKUP_H_

#include <cstdint>

#include "tf_embed/base/executor.h"
#include "tf_embed/base/span.h"
#include "tf_embed/base/work_clock.h"
#include "tf_embed/lookup/pooled_ids.h"
#include "tf_embed/lookup/row_format.h"
#include "tf_embed/optimizers/optimizer_config.h"

namespace tf_embed {

// One feature to look up.
template <typename Id>  // int64_t or int32_t
struct BasicLookupTask {
  BasicPooledIds<Id> ids;
  const void* weights = nullptr;  // table, V rows of `format` and `dim`
  RowFormat format = RowFormat::kFloat32;
  int64_t dim = 0;
  // Of float32 rows only; or null: none.
  const SimulatedQuantization* quantization = nullptr;
  float* output = nullptr;  // [P, D], overwritten; any alignment
  // If not null, gets the time that threads spend on this task, summed.
  TimeCounter* time_ns = nullptr;
};
using LookupTask = BasicLookupTask<int64_t>;

// For each task, each position p and each column k:
//
//   scale = scales empty ? 1 : scales[p]
//   sum = 0
//   for j in [begin(p), end(p)): sum += w_j * q(weights[ids[j], k])
//   output[p * D + k] = scale * sum
//
// in float32, ids in their order (with fused multiply-add where the target has
// it); q is simulated quantization or the identity. Of rows with a scale and a
// bias, code times scale and the biases are added up apart, and then added to
// each other. All tasks are done in one parallel region, cut by cost. Ids must
// have been checked.
void PooledLookup(Span<const BasicLookupTask<int64_t>> tasks,
                  Executor& executor);
void PooledLookup(Span<const BasicLookupTask<int32_t>> tasks,
                  Executor& executor);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_LOOKUP_POOLED_LOOKUP_H_
