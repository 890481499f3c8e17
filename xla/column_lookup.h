#ifndef TF_EMBED_XLA_COLUMN_LOOKUP_H_
#define TF_EMBED_XLA_COLUMN_LOOKUP_H_

#include <cstdint>

#include "xla/fused_contributions.h"
#include "xla/hlo/builder/xla_builder.h"

namespace tf_embed {

// A lookup in a table that a TPU stores by columns (StoredByColumns in
// hlo_pieces.h): the sum of weight * row over the ids of each position, [P,
// dim].
//
// Rows are gathered as columns of the transposed table, which is the same
// bytes. Asked for rows, the compiler copies the table, or reckons with as
// much. The numbers behind the choices are in docs/xla.md.
xla::XlaOp SumColumns(xla::XlaOp table, int64_t num_rows, int64_t dim,
                      FusedContributions ids);

}  // namespace tf_embed

#endif  // TF_EMBED_XLA_COLUMN_LOOKUP_H_
