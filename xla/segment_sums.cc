#include "xla/segment_sums.h"

#include <cstdint>
#include <vector>

#include "xla/hlo/builder/lib/constants.h"
#include "xla/hlo_pieces.h"
#include "xla/xla_data.pb.h"

namespace tf_embed {
namespace {

// Rows are added up in blocks of so many: one thread goes from row to row of a
// block, so that all blocks are one pass over the rows. What a segment brings
// from earlier blocks is found for all blocks in as many steps as their number
// has bits.
constexpr int64_t kBlockRows = 32;

// `flags` [n] as {n, dim}.
xla::XlaOp OfEachColumn(xla::XlaOp flags, int64_t n, int64_t dim) {
  return xla::BroadcastInDim(flags, {n, dim}, {0});
}

// `rows` [n, ...] moved on by `count`; `fill` comes first.
xla::XlaOp MovedOn(xla::XlaOp rows, int64_t n, int64_t count, xla::XlaOp fill) {
  return xla::PadInDim(xla::SliceInDim(rows, 0, n - count, 1, 0), fill,
                       /*dimno=*/0, count, 0);
}

// Element `i` of each block: [num_blocks, ...] of [num_blocks, kBlockRows,
// ...].
xla::XlaOp OfBlocks(xla::XlaOp blocks, int64_t i, std::vector<int64_t> sizes) {
  return xla::Reshape(xla::SliceInDim(blocks, i, i + 1, 1, 1), sizes);
}

// Sums of the rows of a segment up to each row, from the beginning of the
// row's block on.
struct RunningSums {
  xla::XlaOp in_block;  // F32 [num_blocks * kBlockRows, dim]
  // What a segment that began in an earlier block brings into each block.
  xla::XlaOp brought;  // F32 [num_blocks, dim]
};

RunningSums Run(xla::XlaOp rows, xla::XlaOp continues, int64_t num_blocks,
                int64_t dim) {
  xla::XlaBuilder* builder = rows.builder();
  const xla::XlaOp zero = xla::ConstantR0<float>(builder, 0.0f);
  const xla::XlaOp zeros = Zeros(builder, {num_blocks, dim});
  const xla::XlaOp blocks = xla::Reshape(rows, {num_blocks, kBlockRows, dim});
  const xla::XlaOp flags = xla::Reshape(continues, {num_blocks, kBlockRows});
  std::vector<xla::XlaOp> sums;
  xla::XlaOp open = OfBlocks(flags, 0, {num_blocks});  // throughout the block
  for (int64_t i = 0; i < kBlockRows; ++i) {
    xla::XlaOp sum = OfBlocks(blocks, i, {num_blocks, dim});
    if (i > 0) {
      const xla::XlaOp goes_on = OfBlocks(flags, i, {num_blocks});
      sum = xla::Add(
          xla::Select(OfEachColumn(goes_on, num_blocks, dim),
                      xla::Reshape(sums.back(), {num_blocks, dim}), zeros),
          sum);
      open = xla::And(open, goes_on);
    }
    sums.push_back(xla::Reshape(sum, {num_blocks, 1, dim}));
  }
  xla::XlaOp at_end = xla::Reshape(sums.back(), {num_blocks, dim});
  for (int64_t span = 1; span < num_blocks; span *= 2) {
    at_end = xla::Add(
        at_end, xla::Select(OfEachColumn(open, num_blocks, dim),
                            MovedOn(at_end, num_blocks, span, zero), zeros));
    open = xla::And(open, MovedOn(open, num_blocks, span,
                                  xla::ConstantR0<bool>(builder, false)));
  }
  return {xla::Reshape(xla::ConcatInDim(builder, sums, 1),
                       {num_blocks * kBlockRows, dim}),
          MovedOn(at_end, num_blocks, 1, zero)};
}

}  // namespace

xla::XlaOp SumRuns(xla::XlaOp rows, int64_t count, int64_t length,
                   int64_t dim) {
  return SumOver(xla::Reshape(rows, {count, length, dim}), 1);
}

xla::XlaOp SumSegments(xla::XlaOp rows, int64_t num_rows, int64_t dim,
                       const Segments& segments) {
  xla::XlaBuilder* builder = rows.builder();
  const int64_t count = segments.count;
  const xla::XlaOp zeros = Zeros(builder, {count, dim});
  if (count == 0 || num_rows == 0) return zeros;
  const int64_t num_blocks = (num_rows + kBlockRows - 1) / kBlockRows;
  const int64_t num_padded = num_blocks * kBlockRows;
  // False where a segment begins. (One that is empty begins where the next
  // one does.)
  const xla::XlaOp continues = ScatterSet(
      xla::Broadcast(xla::ConstantR0<bool>(builder, true), {num_padded}),
      segments.begins,
      xla::Broadcast(xla::ConstantR0<bool>(builder, false), {count}));
  // Or the rows are computed anew, gathers and all, for each row of a block
  // that comes after them.
  rows = xla::OptimizationBarrier(rows);
  const RunningSums sums =
      Run(xla::PadInDim(rows, xla::ConstantR0<float>(builder, 0.0f),
                        /*dimno=*/0, 0, num_padded - num_rows),
          continues, num_blocks, dim);

  const xla::XlaOp last =
      xla::Max(xla::Sub(segments.ends, xla::ScalarLike(segments.ends, 1)),
               xla::ZerosLike(segments.ends));
  const xla::XlaOp block =
      xla::Div(last, xla::ScalarLike(last, static_cast<int32_t>(kBlockRows)));
  const xla::XlaOp begins_earlier = xla::Lt(
      segments.begins,
      xla::Mul(block,
               xla::ScalarLike(block, static_cast<int32_t>(kBlockRows))));
  const xla::XlaOp whole =
      xla::Add(xla::Select(OfEachColumn(begins_earlier, count, dim),
                           Gather(sums.brought, block), zeros),
               Gather(sums.in_block, last));
  return xla::Select(
      OfEachColumn(xla::Lt(segments.begins, segments.ends), count, dim), whole,
      zeros);
}

}  // namespace tf_embed
