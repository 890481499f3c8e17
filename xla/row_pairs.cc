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
int64_t NumBlocks(int64_t dim) { return dim / kTileColumns; }

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
  return xla::Reshape(table, {num_rows / 2 * blocks, 2, kTileColumns});
}

// Where block `block` of row `rows` is among blocks in the order of tiles of
// `tile_rows` rows.
xla::XlaOp InTiles(xla::XlaOp rows, int64_t tile_rows, int64_t block,
                   int64_t blocks) {
  if (blocks == 1) return rows;
  return xla::Add(Times(Quotient(rows, tile_rows), tile_rows * blocks),
                  Plus(Remainder(rows, tile_rows), tile_rows * block));
}

// Blocks in the order of tiles, [rows * blocks, kTileColumns], as rows.
xla::XlaOp RowsOfTiles(xla::XlaOp tiles, int64_t num_rows, int64_t blocks) {
  return xla::Reshape(
      xla::Transpose(xla::Reshape(tiles, {num_rows / kTileRows, blocks,
                                          kTileRows, kTileColumns}),
                     {0, 2, 1, 3}),
      {num_rows, blocks * kTileColumns});
}

// The number of positions in whole tiles.
int64_t NumTiledPositions(const FusedContributions& ids) {
  return (ids.num_positions + kTileRows - 1) / kTileRows * kTileRows;
}

}  // namespace

bool CanSumRowPairs(int64_t num_rows, int64_t dim,
                    const FusedContributions& ids) {
  const int64_t blocks = NumBlocks(dim);
  const int64_t largest = std::numeric_limits<int32_t>::max();
  return !StoredByColumns(dim) &&
         num_rows % (blocks == 1 ? 2 : kTileRows) == 0 &&
         num_rows / 2 * blocks <= largest &&
         2 * (NumTiledPositions(ids) * blocks + 1) <= largest &&
         2 * ids.num_ids * blocks <= largest;
}

xla::XlaOp SumRowPairs(xla::XlaOp table, int64_t num_rows, int64_t dim,
                       const FusedContributions& ids) {
  xla::XlaBuilder* builder = table.builder();
  const int64_t blocks = NumBlocks(dim);
  const int64_t num_positions = NumTiledPositions(ids);
  const int64_t num_targets = num_positions * blocks;
  const int64_t num_pairs = ids.num_ids * blocks;
  const xla::XlaOp odd = Remainder(ids.ids, 2);

  std::vector<xla::XlaOp> pairs;
  std::vector<xla::XlaOp> marked;  // 2 * target + (the row is the second)
  for (int64_t block = 0; block < blocks; ++block) {
    pairs.push_back(
        InTiles(Quotient(ids.ids, 2), kTileRows / 2, block, blocks));
    const xla::XlaOp target = InTiles(ids.positions, kTileRows, block, blocks);
    marked.push_back(xla::Add(
        Times(xla::Select(ids.kept, target, xla::FullLike(target, num_targets)),
              2),
        odd));
  }
  const xla::XlaOp rows = xla::Reshape(
      xla::OptimizationBarrier(Gather(Pairs(table, num_rows, dim),
                                      xla::ConcatInDim(builder, pairs, 0))),
      {2 * num_pairs, kTileColumns});
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
  const xla::XlaOp sums =
      ScatterAdd(Zeros(builder, {num_targets, kTileColumns}), targets,
                 xla::Mul(rows, weights, {0}));
  return xla::SliceInDim(RowsOfTiles(sums, num_positions, blocks), 0,
                         ids.num_positions, 1, /*dimno=*/0);
}

}  // namespace tf_embed
