#include "xla/row_pairs.h"

#include <cstdint>
#include <limits>
#include <vector>

#include "xla/hlo/builder/lib/constants.h"
#include "xla/hlo/builder/lib/slicing.h"
#include "xla/hlo_pieces.h"

namespace tf_embed {
namespace {

// The parts of a row that lie in different tiles.
int64_t NumBlocks(int64_t dim) {
  return dim <= kTileColumns ? 1 : dim / kTileColumns;
}

xla::XlaOp Plus(xla::XlaOp values, int64_t number) {
  return xla::Add(values, xla::ScalarLike(values, number));
}

xla::XlaOp Times(xla::XlaOp values, int64_t number) {
  return xla::Mul(values, xla::ScalarLike(values, number));
}

xla::XlaOp Quotient(xla::XlaOp values, int64_t number) {
  return xla::Div(values, xla::ScalarLike(values, number));
}

xla::XlaOp Remainder(xla::XlaOp values, int64_t number) {
  return xla::Rem(values, xla::ScalarLike(values, number));
}

// The table in the order in which its tiles lie in memory, so that the
// compiler has nothing to copy: pairs [V / 2 * blocks, 2, dim / blocks].
xla::XlaOp Pairs(xla::XlaOp table, int64_t num_rows, int64_t dim) {
  const int64_t blocks = NumBlocks(dim);
  if (blocks > 1) {
    table = xla::Transpose(xla::Reshape(table, {num_rows / kTileRows, kTileRows,
                                                blocks, kTileColumns}),
                           {0, 2, 1, 3});
  }
  return xla::Reshape(table, {num_rows / 2 * blocks, 2, dim / blocks});
}

// Where block `block` of the rows of `ids` is in what Pairs returns.
xla::XlaOp PairOf(xla::XlaOp ids, int64_t block, int64_t blocks) {
  if (blocks == 1) return Quotient(ids, 2);
  const int64_t pairs_of_tile = kTileRows / 2;
  return xla::Add(
      Times(Quotient(ids, kTileRows), pairs_of_tile * blocks),
      Plus(Quotient(Remainder(ids, kTileRows), 2), pairs_of_tile * block));
}

}  // namespace

bool CanSumRowPairs(int64_t num_rows, int64_t dim,
                    const FusedContributions& ids) {
  const int64_t blocks = NumBlocks(dim);
  const int64_t largest = std::numeric_limits<int32_t>::max();
  return (dim <= kTileColumns || dim % kTileColumns == 0) &&
         num_rows % (blocks == 1 ? 2 : kTileRows) == 0 &&
         num_rows / 2 * blocks <= largest &&
         2 * (ids.num_positions * blocks + 1) <= largest &&
         2 * ids.num_ids * blocks <= largest;
}

xla::XlaOp SumRowPairs(xla::XlaOp table, int64_t num_rows, int64_t dim,
                       const FusedContributions& ids) {
  xla::XlaBuilder* builder = table.builder();
  const int64_t blocks = NumBlocks(dim);
  const int64_t width = dim / blocks;
  const int64_t num_targets = ids.num_positions * blocks;
  const int64_t num_pairs = ids.num_ids * blocks;
  const xla::XlaOp left_out =
      xla::Eq(ids.positions, xla::ScalarLike(ids.positions, ids.num_positions));
  const xla::XlaOp odd = Remainder(ids.ids, 2);

  std::vector<xla::XlaOp> pairs;
  std::vector<xla::XlaOp> marked;  // 2 * target + (the row is the second)
  for (int64_t block = 0; block < blocks; ++block) {
    pairs.push_back(PairOf(ids.ids, block, blocks));
    const xla::XlaOp target = Plus(ids.positions, block * ids.num_positions);
    marked.push_back(xla::Add(
        Times(xla::Select(left_out, xla::FullLike(target, num_targets), target),
              2),
        odd));
  }
  const xla::XlaOp rows = xla::Reshape(
      xla::OptimizationBarrier(Gather(Pairs(table, num_rows, dim),
                                      xla::ConcatInDim(builder, pairs, 0))),
      {2 * num_pairs, width});
  const xla::XlaOp both =
      RepeatEachTwice(xla::ConcatInDim(builder, marked, 0), num_pairs);
  const xla::XlaOp is_neighbour = xla::Ne(
      Remainder(both, 2), Remainder(Positions(builder, 2 * num_pairs), 2));
  const xla::XlaOp targets = xla::Select(
      is_neighbour, xla::FullLike(both, num_targets), Quotient(both, 2));
  const xla::XlaOp weights = RepeatEachTwice(
      xla::ConcatInDim(builder, std::vector<xla::XlaOp>(blocks, ids.weights),
                       0),
      num_pairs);
  const xla::XlaOp sums = ScatterAdd(Zeros(builder, {num_targets, width}),
                                     targets, xla::Mul(rows, weights, {0}));
  // [blocks, P, width] to [P, blocks, width].
  return xla::Reshape(
      xla::Transpose(xla::Reshape(sums, {blocks, ids.num_positions, width}),
                     {1, 0, 2}),
      {ids.num_positions, dim});
}

}  // namespace tf_embed
