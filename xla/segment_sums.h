#ifndef TF_EMBED_XLA_SEGMENT_SUMS_H_
#define TF_EMBED_XLA_SEGMENT_SUMS_H_

#include <cstdint>

#include "xla/hlo/builder/xla_builder.h"

namespace tf_embed {

// Runs of rows that follow each other: segment p is rows [begins[p], ends[p]),
// none where these are equal. S32 [count]; within the rows.
struct Segments {
  xla::XlaOp begins;
  xla::XlaOp ends;
  int64_t count = 0;
};

// The sum of each segment of `rows` F32 [num_rows, dim], as [count, dim]: the
// same bits each time, which a scatter does not promise on a GPU, whose threads
// add in whatever order they come.
xla::XlaOp SumSegments(xla::XlaOp rows, int64_t num_rows, int64_t dim,
                       const Segments& segments);

// The sum of each `length` rows of [count * length, dim], as [count, dim].
xla::XlaOp SumRuns(xla::XlaOp rows, int64_t count, int64_t length, int64_t dim);

}  // namespace tf_embed

#endif  // TF_EMBED_XLA_SEGMENT_SUMS_H_
