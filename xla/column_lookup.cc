#include "xla/column_lookup.h"

#include <cstdint>

#include "xla/hlo/builder/lib/constants.h"
#include "xla/hlo/builder/xla_builder.h"
#include "xla/hlo_pieces.h"
#include "xla/shape_util.h"
#include "xla/xla_data.pb.h"

namespace tf_embed {
namespace {

constexpr int64_t kNumberBytes = sizeof(float);
constexpr int64_t kTileBytes = kTileRows * kTileColumns * kNumberBytes;

// A row in memory, when the compiler has copied the table into rows.
int64_t PaddedRowBytes(int64_t dim) {
  return (dim + kTileColumns - 1) / kTileColumns * kTileColumns * kNumberBytes;
}

// The compiler leaves a table stored by columns if rows would take more than
// twice the memory and 128 MB more.
bool IsNeverCopied(int64_t num_rows, int64_t dim) {
  constexpr int64_t kMaxPadding = int64_t{128} << 20;
  const int64_t row_bytes = dim * kNumberBytes;
  const int64_t padded = PaddedRowBytes(dim);
  return padded > 2 * row_bytes &&
         num_rows * (padded - row_bytes) > kMaxPadding;
}

// Whether it costs less to read all tiles in which an id's column lies than to
// copy the table. The tiles must be full.
bool GathersTiles(int64_t num_rows, int64_t dim, int64_t num_ids) {
  return dim % kTileRows == 0 &&
         num_rows * (dim * kNumberBytes + PaddedRowBytes(dim)) >
             num_ids * (dim / kTileRows) * kTileBytes;
}

// The compiler reckons that the SparseCore reads the whole table twice for a
// gather, however few rows that is of.
bool SuitsSparseCore(int64_t num_rows, int64_t num_ids) {
  constexpr int64_t kMaxRowsPerId = 60;
  return num_rows < kMaxRowsPerId * num_ids;
}

// Whether rows are to be gathered before they are summed. Else the compiler
// fuses the two, and reckons with reading the whole table once more.
bool GathersFirst(int64_t num_rows, int64_t dim, int64_t num_ids) {
  // Where the two cost the same, by trial with 16, 32 and 64 columns.
  return IsNeverCopied(num_rows, dim) || 14 * num_rows > (dim + 10) * num_ids;
}

// The row of each of `ids`, as columns [dim, num_ids].
xla::XlaOp GatherColumns(xla::XlaOp table, int64_t num_rows, int64_t dim,
                         xla::XlaOp ids, int64_t num_ids) {
  const xla::XlaOp columns = xla::Transpose(table, {1, 0});
  if (IsNeverCopied(num_rows, dim) && SuitsSparseCore(num_rows, num_ids)) {
    return Gather(columns, ids, 1);
  }
  const KeepOnTensorCore scope(table.builder());
  if (GathersTiles(num_rows, dim, num_ids)) {
    // Of this view the compiler makes no copy.
    const xla::XlaOp tiles =
        xla::Reshape(columns, {dim / kTileRows, kTileRows, num_rows});
    return xla::Reshape(Gather(tiles, ids, 2), {dim, num_ids});
  }
  return Gather(columns, ids, 1);
}

// The same number of ids at each position.
xla::XlaOp SumRegular(xla::XlaOp table, int64_t num_rows, int64_t dim,
                      const FusedContributions& ids) {
  const int64_t n = ids.ids_a_position;
  const int64_t num_positions = ids.num_positions;
  // The first id of each position, then the second of each, ..., so that the
  // sum runs over blocks of columns, and nothing is transposed.
  const auto by_place = [&](xla::XlaOp vector) {
    return xla::Reshape(
        xla::Transpose(xla::Reshape(vector, {num_positions, n}), {1, 0}),
        {ids.num_ids});
  };
  xla::XlaOp terms =
      GatherColumns(table, num_rows, dim, by_place(ids.ids), ids.num_ids);
  terms = xla::Mul(terms, by_place(ids.weights), {1});
  // Not by a weight of 0, which would let infinity through.
  const xla::XlaOp kept =
      xla::BroadcastInDim(by_place(ids.kept), {dim, ids.num_ids}, {1});
  terms = xla::Select(kept, terms, xla::ZerosLike(terms));
  const xla::XlaOp sums =
      n == 1 ? terms : SumOver(xla::Reshape(terms, {dim, n, num_positions}), 1);
  return xla::Transpose(sums, {1, 0});
}

// A product with a matrix that has a one in each row, which the compiler fuses
// with the sum. It is made with integers, so that it gives the very bits of one
// row, whatever the others hold, and zero for an id that is left out.
xla::XlaOp SumByProduct(xla::XlaOp table, int64_t num_rows, int64_t dim,
                        const FusedContributions& ids) {
  xla::XlaBuilder* builder = table.builder();
  const int64_t n = ids.ids_a_position;
  // Numbers so small are exact in 16 bits.
  const xla::XlaOp chosen = xla::BroadcastInDim(
      xla::Reshape(xla::ConvertElementType(ids.IdsOr(num_rows), xla::BF16),
                   {ids.num_positions, n}),
      {ids.num_positions, n, num_rows}, {0, 1});
  const xla::XlaOp rows_of_table = xla::Iota(
      builder,
      xla::ShapeUtil::MakeShape(xla::BF16, {ids.num_positions, n, num_rows}),
      2);
  const xla::XlaOp ones =
      xla::ConvertElementType(xla::Eq(chosen, rows_of_table), xla::U32);
  xla::DotDimensionNumbers over_rows;
  over_rows.add_lhs_contracting_dimensions(2);
  over_rows.add_rhs_contracting_dimensions(0);
  const xla::XlaOp rows = xla::BitcastConvertType(
      xla::DotGeneral(ones, xla::BitcastConvertType(table, xla::U32),
                      over_rows),
      xla::F32);
  const xla::XlaOp terms =
      xla::Mul(rows, xla::Reshape(ids.weights, {ids.num_positions, n}), {0, 1});
  return n == 1 ? xla::Reshape(terms, {ids.num_positions, dim})
                : SumOver(terms, 1);
}

}  // namespace

xla::XlaOp SumColumns(xla::XlaOp table, int64_t num_rows, int64_t dim,
                      FusedContributions ids) {
  const bool regular = ids.ids_a_position > 0;
  if (regular && num_rows < kTileColumns) {
    return SumByProduct(table, num_rows, dim, ids);
  }
  ids.ids = WithUseOf(table, ids.ids, ids.num_ids);
  const bool first = GathersFirst(num_rows, dim, ids.num_ids);
  if (regular && (first || ids.ids_a_position == 1)) {
    return SumRegular(table, num_rows, dim, ids);
  }
  xla::XlaOp rows = xla::Transpose(
      GatherColumns(table, num_rows, dim, ids.ids, ids.num_ids), {1, 0});
  const KeepOnTensorCore scope(table.builder());
  if (first) rows = xla::OptimizationBarrier(rows);
  return ids.WeightedSums(rows, dim);
}

}  // namespace tf_embed
