#ifndef TF_EMBED_TF_EMBED_LOOKUP_SPARSE_UPDATE_H_
#define TF_EMBED_TF_EMBED_LOOKUP_SPARSE_UPDATE_H_

#include <cstdint>
#include <memory>

#include "tf_embed/base/executor.h"
#include "tf_embed/base/span.h"
#include "tf_embed/base/work_clock.h"
#include "tf_embed/lookup/pooled_ids.h"
#include "tf_embed/optimizers/optimizer.h"

namespace tf_embed {

// The gradients of one feature on one core.
struct GradientSource {
  PooledIds ids;
  const float* gradients = nullptr;  // [P, D], of the pooled activations
};

// One table's part of a global step.
struct TableUpdate {
  TableView table;
  const Optimizer* optimizer = nullptr;
  StepScalars scalars;
  // In the order in which contributions are added: core by core, on each core
  // feature by feature.
  Span<const GradientSource> sources;
  int64_t rows_touched = 0;  // out: unique rows that had an id
  // If not null, gets the time that threads spend on this table, summed.
  TimeCounter* time_ns = nullptr;
};

// Memory kept from step to step, so that a steady state allocates nothing.
class SparseUpdateScratch {
 public:
  SparseUpdateScratch();
  ~SparseUpdateScratch();
  struct Impl;
  Impl* impl() { return impl_.get(); }

 private:
  std::unique_ptr<Impl> impl_;
};

// For each table, for each row i that any source names (all rows where the
// optimizer updates untouched ones):
//
//   g = 0
//   for source in sources: for p: for j in [begin(p), end(p)) with ids[j] == i:
//     g += c_j(p) * gradients[p]        (float32, in this order)
//   optimizer->UpdateRow(scalars, g, row i of weights and slots)
//
// Each row is updated once, by one thread; the bits do not depend on the
// number of threads.
void SparseUpdate(Span<TableUpdate> updates, SparseUpdateScratch& scratch,
                  Executor& executor);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_LOOKUP_SPARSE_UPDATE_H_
