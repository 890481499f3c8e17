#include "tf_embed/engine/arbitrary_input.h"

#include <utility>
#include <vector>

#include "tf_embed/engine/group_by_position.h"

namespace tf_embed {
namespace {

std::string ShapeText(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += StrCat(i == 0 ? "" : ",", shape[i]);
  }
  return text + "]";
}

const std::vector<int64_t>& InputShape(const InputContext& context) {
  return context.config.features[context.feature].input_shape;
}

// The first column of coordinates [N, 2]: false if one is outside [0, size). No
// branch, so that the compiler can take several at a time.
template <typename T>
bool PlaceRank1(int64_t size, const T* coordinates,
                std::vector<int32_t>& positions) {
  bool outside = false;
  for (size_t i = 0; i < positions.size(); ++i) {
    const int64_t coordinate = coordinates[2 * i];
    outside |= static_cast<uint64_t>(coordinate) >= static_cast<uint64_t>(size);
    positions[i] = static_cast<int32_t>(coordinate);
  }
  return !outside;
}

// Positions of row-major coordinates. Coordinates past the end of the last
// dimension of two or more are those of a sequence that is cut off; the op
// can't tell them from a mistake.
template <typename T>
Status PlaceCoordinates(const InputContext& context, const T* coordinates,
                        std::vector<int32_t>& positions) {
  const std::vector<int64_t>& shape = InputShape(context);
  const size_t rank = shape.size();
  if (rank == 1 && PlaceRank1(shape[0], coordinates, positions)) {
    return OkStatus();
  }
  for (size_t i = 0; i < positions.size(); ++i, coordinates += rank + 1) {
    int64_t position = 0;
    bool cut_off = false;
    for (size_t axis = 0; axis < rank; ++axis) {
      const int64_t coordinate = coordinates[axis];
      if (coordinate < 0 || coordinate >= shape[axis]) {
        if (coordinate < 0 || rank < 2 || axis + 1 < rank) {
          return InvalidArgument(
              context.Label(), ": sample index ", coordinate, " in column ",
              axis, " of row ", i, " is outside [0, ", shape[axis],
              "); the input shape is ", ShapeText(shape), ".");
        }
        cut_off = true;
        continue;
      }
      position = position * shape[axis] + coordinate;
    }
    positions[i] =
        cut_off ? PlacedIds::kDropped : static_cast<int32_t>(position);
  }
  return OkStatus();
}

Status PlaceSparse(const InputContext& context, PlacedIds& placed) {
  const ArrayView& indices = context.input.indices_or_splits;
  const int64_t columns = indices.shape[1];
  const int64_t rank = InputShape(context).size();
  if (columns != rank + 1) {
    return InvalidArgument(context.Label(), ": sample indices have ", columns,
                           " columns, but the input shape ",
                           ShapeText(InputShape(context)), " needs ", rank + 1,
                           ".");
  }
  if (indices.shape[0] != context.num_ids()) {
    return InvalidArgument(context.Label(), ": ", indices.shape[0],
                           " sample indices for ", context.num_ids(), " ids.");
  }
  placed.positions.resize(context.num_ids());
  return VisitIntegers(indices, [&](const auto* data) {
    return PlaceCoordinates(context, data, placed.positions);
  });
}

Status PlaceDense(const InputContext& context, int64_t num_positions,
                  PlacedIds& placed) {
  const int64_t num_ids = context.num_ids();
  if (num_ids != num_positions && num_ids != 0) {
    return InvalidArgument(
        context.Label(), ": ", num_ids, " dense ids; the input shape ",
        ShapeText(InputShape(context)), " needs ", num_positions, ", or none.");
  }
  placed.positions.resize(num_ids);
  for (int64_t k = 0; k < num_ids; ++k) placed.positions[k] = k;
  return OkStatus();
}

void PlaceRows(const std::vector<int64_t>& splits, int64_t length,
               PlacedIds& placed) {
  const int64_t rows = static_cast<int64_t>(splits.size()) - 1;
  placed.positions.resize(splits.back());
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = splits[row]; i < splits[row + 1]; ++i) {
      const int64_t j = i - splits[row];
      // Length 1 is an ordinary feature: all of the row is combined.
      placed.positions[i] = length == 1  ? row
                            : j < length ? row * length + j
                                         : PlacedIds::kDropped;
    }
  }
}

// Copies ids and weights that are in order already.
void CopyIds(const InputContext& context, FeatureBatch& out) {
  AppendIds(context.input.ids, out.ids);
  if (context.has_weights()) AppendWeights(context.input.weights, out.weights);
}

}  // namespace

Status BuildArbitraryInput(const InputContext& context, FeatureBatch& out,
                           int64_t* num_negative, bool* combines) {
  const int64_t num_positions =
      context.config.features[context.feature].num_positions();
  out.num_positions = num_positions;
  *combines = true;
  TF_EMBED_RETURN_IF_ERROR(CheckIdsAndWeights(context, num_negative));

  PlacedIds placed;
  placed.input = &context.input;
  placed.use_weights = context.has_weights();
  const ArrayView& first = context.input.indices_or_splits;
  if (first.type != ArrayView::Type::kInt32 &&
      first.type != ArrayView::Type::kInt64) {
    return InvalidArgument(context.Label(),
                           ": sample indices or row splits must be int32 or "
                           "int64.");
  }
  if (first.rank() != 1 && first.rank() != 2) {
    return InvalidArgument(context.Label(),
                           ": sample indices or row splits must have rank 2 "
                           "or 1, not ",
                           first.rank(), ".");
  }
  if (first.shape[0] == 0) {
    if (context.num_ids() == num_positions && *num_negative == 0) {
      CopyIds(context, out);  // offsets stay empty: one id each
      return OkStatus();
    }
    TF_EMBED_RETURN_IF_ERROR(PlaceDense(context, num_positions, placed));
  } else if (first.rank() == 2) {
    TF_EMBED_RETURN_IF_ERROR(PlaceSparse(context, placed));
  } else {
    TF_EMBED_RETURN_IF_ERROR(ReadRowSplits(context, out.offsets));
    const std::vector<int64_t>& splits = out.offsets;
    const int64_t rows = static_cast<int64_t>(splits.size()) - 1;
    if (rows == 0 || num_positions % rows != 0) {
      return InvalidArgument(context.Label(), ": ", rows,
                             " ragged rows; the input shape ",
                             ShapeText(InputShape(context)), " needs ",
                             num_positions, " or a divisor of it.");
    }
    if (rows == num_positions && *num_negative == 0) {
      CopyIds(context, out);
      return OkStatus();
    }
    *combines = rows == num_positions;
    placed.use_weights = placed.use_weights && *combines;
    PlaceRows(splits, num_positions / rows, placed);
  }
  if (*num_negative > 0) DropNegativeIds(placed);
  GroupByPosition({&placed, 1}, out);
  return OkStatus();
}

}  // namespace tf_embed
