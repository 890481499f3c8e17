#ifndef TF_EMBED_TF_EMBED_SERVING_ROW_GRADIENTS_H_
#define TF_EMBED_TF_EMBED_SERVING_ROW_GRADIENTS_H_

#include <cstdint>
#include <vector>

#include "tf_embed/base/executor.h"
#include "tf_embed/base/span.h"
#include "tf_embed/lookup/sparse_update.h"

namespace tf_embed {

// The gradient of a table as a list of rows, each once. Keeps its memory from
// call to call.
class RowGradients {
 public:
  // Finds the distinct ids of all sources, which belong to one table and must
  // live until Sum returns.
  void FindRows(Span<const GradientSource> sources);

  // The distinct ids, in the order of their first appearance.
  Span<const int64_t> rows() const { return rows_; }

  // For each row r of rows(), for each column k, in float32 and in the order
  // of the sources:
  //   out[r * dim + k] = sum over ids equal to rows()[r] of
  //                      c_j(p) * gradients[p * dim + k]
  void Sum(int64_t dim, float* out, Executor& executor);

 private:
  // Index of `id` in rows_, where it is put if it is new.
  int64_t IndexOf(int64_t id);

  std::vector<GradientSource> sources_;
  std::vector<int64_t> rows_;
  std::vector<std::vector<int64_t>> renumbered_;  // ids of each source
  std::vector<int64_t> buckets_;  // open addressing: index into rows_, or -1
  uint64_t shift_ = 0;
  SparseUpdateScratch scratch_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_SERVING_ROW_GRADIENTS_H_
