#include "xla/hlo_pieces.h"

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <vector>

#include "xla/hlo/builder/lib/arithmetic.h"
#include "xla/hlo/builder/lib/comparators.h"
#include "xla/hlo/builder/lib/constants.h"
#include "xla/hlo/builder/lib/slicing.h"
#include "xla/hlo/builder/xla_computation.h"
#include "xla/layout_util.h"
#include "xla/shape_util.h"
#include "xla/xla_data.pb.h"

namespace tf_embed {
namespace {

// (old, new) -> old + new, or new.
xla::XlaComputation Combine(xla::XlaBuilder* builder, xla::PrimitiveType type,
                            bool add) {
  const std::unique_ptr<xla::XlaBuilder> body =
      builder->CreateSubBuilder(add ? "add" : "assign");
  const xla::Shape scalar = xla::ShapeUtil::MakeShape(type, {});
  const xla::XlaOp before = xla::Parameter(body.get(), 0, scalar, "before");
  const xla::XlaOp update = xla::Parameter(body.get(), 1, scalar, "update");
  if (add) xla::Add(before, update);
  return body->BuildAndNoteError();
}

xla::XlaOp Scatter(xla::XlaOp target, xla::XlaOp ids, xla::XlaOp updates,
                   bool add, ScatterHints hints) {
  xla::XlaBuilder* builder = target.builder();
  return builder->ReportErrorOrReturn([&]() -> absl::StatusOr<xla::XlaOp> {
    const absl::StatusOr<xla::Shape> shape = builder->GetShape(target);
    if (!shape.ok()) return shape.status();
    xla::ScatterDimensionNumbers numbers;
    if (shape->dimensions().size() == 2) numbers.add_update_window_dims(1);
    numbers.add_inserted_window_dims(0);
    numbers.add_scatter_dims_to_operand_dims(0);
    numbers.set_index_vector_dim(1);
    return xla::Scatter(target, ids, updates,
                        Combine(builder, shape->element_type(), add), numbers,
                        hints.sorted, hints.unique);
  });
}

xla::FrontendAttributes OnTensorCore() {
  xla::FrontendAttributes attributes;
  (*attributes.mutable_map())["_xla_compute_type"] = "dense";
  return attributes;
}

}  // namespace

KeepOnTensorCore::KeepOnTensorCore(xla::XlaBuilder* builder)
    : scope_(builder, OnTensorCore()) {}

xla::XlaOp StoredByRows(xla::XlaOp matrix) {
  xla::XlaBuilder* builder = matrix.builder();
  return builder->ReportErrorOrReturn([&]() -> absl::StatusOr<xla::XlaOp> {
    absl::StatusOr<xla::Shape> shape = builder->GetShape(matrix);
    if (!shape.ok()) return shape.status();
    *shape->mutable_layout() = xla::LayoutUtil::MakeLayout({1, 0});
    // XLA's own; it ends with the assignment of layouts.
    return xla::CustomCallWithLayout(builder, "LayoutConstraint", {matrix},
                                     *shape, {*shape});
  });
}

xla::XlaOp WithUseOf(xla::XlaOp table, xla::XlaOp ids, int64_t num_ids) {
  if (num_ids == 0) return ids;
  const xla::XlaOp first_id = xla::SliceInDim(ids, 0, 1, 1, 0);
  const xla::XlaOp never = xla::Lt(first_id, xla::ScalarLike(first_id, 0));
  const xla::XlaOp element = xla::ConvertElementType(
      xla::Reshape(xla::Slice(table, {0, 0}, {1, 1}, {1, 1}), {1}), xla::S32);
  return xla::Select(xla::BroadcastInDim(never, {num_ids}, {0}),
                     xla::BroadcastInDim(element, {num_ids}, {0}), ids);
}

xla::XlaOp Gather(xla::XlaOp operand, xla::XlaOp ids, int64_t dimension) {
  xla::XlaBuilder* builder = operand.builder();
  return builder->ReportErrorOrReturn([&]() -> absl::StatusOr<xla::XlaOp> {
    const absl::StatusOr<xla::Shape> shape = builder->GetShape(operand);
    if (!shape.ok()) return shape.status();
    xla::GatherDimensionNumbers numbers;
    std::vector<int64_t> slice_sizes(shape->dimensions().begin(),
                                     shape->dimensions().end());
    slice_sizes[dimension] = 1;
    const int64_t rank = slice_sizes.size();
    for (int64_t i = 0; i < rank; ++i) {
      if (i != dimension) numbers.add_offset_dims(i);
    }
    numbers.add_collapsed_slice_dims(dimension);
    numbers.add_start_index_map(dimension);
    numbers.set_index_vector_dim(1);
    return xla::Gather(operand, ids, numbers, slice_sizes);
  });
}

xla::XlaOp RepeatEachTwice(xla::XlaOp vector, int64_t size) {
  // Through a matrix whose rows are repeated: to take a long vector apart in
  // any other way takes the TPU's compiler minutes.
  constexpr int64_t kColumns = 128;
  const int64_t rows = (size + kColumns - 1) / kColumns;
  const xla::XlaOp matrix = xla::Transpose(
      xla::Reshape(
          xla::PadInDim(vector, xla::ScalarLike(vector, 0), /*dimno=*/0,
                        /*pad_lo=*/0, /*pad_hi=*/rows * kColumns - size),
          {rows, kColumns}),
      {1, 0});
  const xla::XlaOp repeated =
      xla::Reshape(xla::BroadcastInDim(matrix, {kColumns, 2, rows}, {0, 2}),
                   {2 * kColumns, rows});
  return xla::SliceInDim(
      xla::Reshape(xla::Transpose(repeated, {1, 0}), {2 * rows * kColumns}), 0,
      2 * size, 1, /*dimno=*/0);
}

xla::XlaOp ScatterAdd(xla::XlaOp target, xla::XlaOp ids, xla::XlaOp updates,
                      ScatterHints hints) {
  return Scatter(target, ids, updates, /*add=*/true, hints);
}

xla::XlaOp ScatterSet(xla::XlaOp target, xla::XlaOp ids, xla::XlaOp updates,
                      ScatterHints hints) {
  return Scatter(target, ids, updates, /*add=*/false, hints);
}

xla::XlaOp SumOver(xla::XlaOp terms, int64_t dimension) {
  xla::XlaBuilder* builder = terms.builder();
  return xla::Reduce(terms, xla::ConstantR0<float>(builder, 0.0f),
                     xla::CreateScalarAddComputation(xla::F32, builder),
                     {dimension});
}

xla::XlaOp PrefixSum(xla::XlaOp vector, int64_t size) {
  // Each pass doubles the number of elements that a sum spans.
  const xla::XlaOp zero = xla::ConstantR0<int32_t>(vector.builder(), 0);
  for (int64_t span = 1; span < size; span *= 2) {
    xla::PaddingConfig padding;
    auto* dimension = padding.add_dimensions();
    dimension->set_edge_padding_low(span);
    dimension->set_edge_padding_high(-span);
    vector = xla::Add(vector, xla::Pad(vector, zero, padding));
  }
  return vector;
}

SortedKeys SortStably(xla::XlaOp keys, int64_t size) {
  // As numbers of which the place is the lower half: one array is sorted
  // several times as fast as two or three by XLA on a CPU.
  constexpr uint64_t kPlaceBits = 32;
  xla::XlaBuilder* builder = keys.builder();
  const xla::XlaOp bits = xla::ConstantR0<uint64_t>(builder, kPlaceBits);
  const xla::XlaOp packed =
      xla::Or(xla::ShiftLeft(xla::ConvertElementType(keys, xla::U64),
                             xla::Broadcast(bits, {size})),
              xla::Iota(builder, xla::U64, size));
  const xla::XlaOp sorted = xla::Sort(
      {packed}, xla::CreateScalarLtComputation({xla::U64}, builder), 0);
  return {xla::ConvertElementType(
              xla::ShiftRightLogical(sorted, xla::Broadcast(bits, {size})),
              xla::S32),
          xla::ConvertElementType(
              xla::And(sorted, xla::ScalarLike(
                                   sorted, (uint64_t{1} << kPlaceBits) - 1)),
              xla::S32)};
}

xla::XlaOp Positions(xla::XlaBuilder* builder, int64_t size) {
  return xla::Iota(builder, xla::S32, size);
}

xla::XlaOp Zeros(xla::XlaBuilder* builder,
                 std::initializer_list<int64_t> sizes) {
  return xla::Broadcast(xla::ConstantR0<float>(builder, 0.0f), sizes);
}

}  // namespace tf_embed
