#ifndef TF_EMBED_XLA_ROW_PAIRS_H_
#define TF_EMBED_XLA_ROW_PAIRS_H_

#include <cstdint>

#include "xla/fused_contributions.h"
#include "xla/hlo/builder/xla_builder.h"

namespace tf_embed {

// A lookup that gathers each row together with its neighbour. A TPU stores a
// table in tiles of 8 rows by 128 columns, and its compiler reckons that a
// gather of single rows moves a whole tile for each. The same bytes, seen as
// [V / 2, 2, 128], are tiles of two rows; the neighbour is left out when the
// rows are summed.

// Whether the table and the output can be seen so.
bool CanSumRowPairs(int64_t num_rows, int64_t dim,
                    const FusedContributions& ids);

// The sum of weight * row over the ids of each position: [P, dim].
xla::XlaOp SumRowPairs(xla::XlaOp table, int64_t num_rows, int64_t dim,
                       const FusedContributions& ids);

}  // namespace tf_embed

#endif  // TF_EMBED_XLA_ROW_PAIRS_H_
