#ifndef TF_EMBED_XLA_HLO_PIECES_H_
#define TF_EMBED_XLA_HLO_PIECES_H_

#include <cstdint>
#include <initializer_list>

#include "xla/hlo/builder/xla_builder.h"

namespace tf_embed {

// Pieces of HLO that the fused lookup and update are made of. Ids, positions
// and rows are S32 vectors; an index outside the operand is left out of a
// scatter.

// The tiles in which a TPU stores a matrix of 32-bit numbers. It stores a table
// by columns where rows would leave a part of their last tile empty.
inline constexpr int64_t kTileRows = 8;
inline constexpr int64_t kTileColumns = 128;

inline bool StoredByColumns(int64_t dim) { return dim % kTileColumns != 0; }

// operand[..., i, ...] for each i of `ids` [N], which indexes `dimension`: N
// takes the place of its size.
xla::XlaOp Gather(xla::XlaOp operand, xla::XlaOp ids, int64_t dimension = 0);

// Each element of `vector` [size] twice: a, a, b, b, ...
xla::XlaOp RepeatEachTwice(xla::XlaOp vector, int64_t size);

struct ScatterHints {
  bool sorted = false;
  bool unique = false;
};

// `target` with updates[j] added to row (or element) ids[j], in order of j.
xla::XlaOp ScatterAdd(xla::XlaOp target, xla::XlaOp ids, xla::XlaOp updates,
                      ScatterHints hints = {});

// `target` with row (or element) ids[j] replaced by updates[j].
xla::XlaOp ScatterSet(xla::XlaOp target, xla::XlaOp ids, xla::XlaOp updates,
                      ScatterHints hints = {});

// The sum of F32 `terms` over a dimension.
xla::XlaOp SumOver(xla::XlaOp terms, int64_t dimension);

// Sum of the elements up to and with each one; S32 [size].
xla::XlaOp PrefixSum(xla::XlaOp vector, int64_t size);

// Keys in ascending order, and at which place each has been.
struct SortedKeys {
  xla::XlaOp keys;    // S32 [size]
  xla::XlaOp places;  // S32 [size]
};

// `keys`, S32 [size], none of them negative; those that are equal stay in their
// order.
SortedKeys SortStably(xla::XlaOp keys, int64_t size);

// [0, size), S32.
xla::XlaOp Positions(xla::XlaBuilder* builder, int64_t size);

// `matrix`, stored by rows.
xla::XlaOp StoredByRows(xla::XlaOp matrix);

// `ids` [num_ids], none of them negative, with a use of the F32 matrix `table`
// that no run needs, but that the compiler can't rule out: a table that has one
// use and fits into the vector memory would be copied there from end to end,
// which costs more than what is read of it.
xla::XlaOp WithUseOf(xla::XlaOp table, xla::XlaOp ids, int64_t num_ids);

// Has what is built while it lives done by the TensorCore of a TPU: of its own
// accord the compiler gives gathers and scatters of large tables to the
// SparseCore, and reckons that this moves the whole table twice.
class KeepOnTensorCore {
 public:
  explicit KeepOnTensorCore(xla::XlaBuilder* builder);

 private:
  xla::XlaScopedFrontendAttributesAssignment scope_;
};

// Zeros, F32.
xla::XlaOp Zeros(xla::XlaBuilder* builder,
                 std::initializer_list<int64_t> sizes);

}  // namespace tf_embed

#endif  // TF_EMBED_XLA_HLO_PIECES_H_
