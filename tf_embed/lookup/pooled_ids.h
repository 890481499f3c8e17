#ifndef TF_EMBED_TF_EMBED_LOOKUP_POOLED_IDS_H_
#define TF_EMBED_TF_EMBED_LOOKUP_POOLED_IDS_H_

#include <cstdint>

#include "tf_embed/base/span.h"

namespace tf_embed {

// The ids of one feature, grouped by output position (compressed sparse rows),
// with the combiner already turned into coefficients. P positions, N ids.
//
//   begin(p), end(p) = offsets empty ? p, p + 1 : offsets[p], offsets[p + 1]
//   c_j(p)           = (weights empty ? 1 : weights[j]) *
//                      (scales empty ? 1 : scales[p])
//
// Position p stands for  sum over j in [begin(p), end(p)) of c_j(p) *
// row[ids[j]].
template <typename Id>  // int64_t or int32_t
struct BasicPooledIds {
  int64_t num_positions = 0;
  Span<const int64_t> offsets;  // [P + 1], or empty: exactly one id a position
  Span<const Id> ids;           // [N], each in [0, rows of the table)
  Span<const float> weights;    // [N] or empty
  Span<const float> scales;     // [P] or empty

  int64_t begin(int64_t p) const { return offsets.empty() ? p : offsets[p]; }
  int64_t end(int64_t p) const {
    return offsets.empty() ? p + 1 : offsets[p + 1];
  }
};
using PooledIds = BasicPooledIds<int64_t>;

// A table for the kernels: V rows of D floats, and as many again for each slot
// variable. Rows are contiguous: row i begins at weights + i * dim.
struct TableView {
  int64_t rows = 0;
  int64_t dim = 0;
  float* weights = nullptr;
  Span<float* const> slots;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_LOOKUP_POOLED_IDS_H_
