#include "tf_embed/engine/table_input.h"

#include <vector>

namespace tf_embed {
namespace {

// Where (sample, element) of an input lies in its table's positions.
class Placement {
 public:
  Placement(const InputContext& context, const Slots& slots)
      : num_features_(context.table().num_features), slots_(slots) {}

  int32_t operator()(int64_t sample, int64_t element) const {
    const int64_t example = sample / slots_.samples();
    int64_t slot = slots_.first + sample % slots_.samples();
    if (slots_.is_sequence) {
      if (element >= slots_.width) return PlacedIds::kDropped;
      slot += element;
    }
    return static_cast<int32_t>(example * num_features_ + slot);
  }

 private:
  int64_t num_features_;
  Slots slots_;
};

int64_t NumSamples(const InputContext& context, const Slots& slots) {
  return context.config.batch_size_per_tensor_core * slots.samples();
}

Status PlaceDense(const InputContext& context, const Slots& slots,
                  bool may_be_empty, PlacedIds& placed) {
  const int64_t num_ids = context.num_ids();
  const int64_t samples = NumSamples(context, slots);
  if (num_ids != samples && !(may_be_empty && num_ids == 0)) {
    return InvalidArgument(context.Label(), ": ", num_ids,
                           " ids, one per sample; expected ", samples,
                           may_be_empty ? " or none." : ".");
  }
  const Placement placement(context, slots);
  placed.positions.resize(num_ids);
  for (int64_t k = 0; k < num_ids; ++k) placed.positions[k] = placement(k, 0);
  return OkStatus();
}

template <typename T>
Status PlaceIndices(const InputContext& context, const Slots& slots,
                    const T* indices, int64_t columns, PlacedIds& placed) {
  const int64_t samples = NumSamples(context, slots);
  const Placement placement(context, slots);
  for (size_t i = 0; i < placed.positions.size(); ++i, indices += columns) {
    const int64_t sample = indices[0];
    if (sample < 0 || sample >= samples) {
      return InvalidArgument(context.Label(), ": sample index ", sample,
                             " at index ", i, " is outside [0, ", samples,
                             ").");
    }
    int64_t element = 0;
    if (slots.is_sequence) {
      element = indices[1];
      if (element < 0) {
        return InvalidArgument(context.Label(), ": sequence index ", element,
                               " at index ", i, " is negative.");
      }
    }
    placed.positions[i] = placement(sample, element);
  }
  return OkStatus();
}

Status PlaceSparse(EnqueueForm form, const InputContext& context,
                   const Slots& slots, PlacedIds& placed) {
  const ArrayView& indices = context.input.indices_or_splits;
  if (indices.type != ArrayView::Type::kInt32 &&
      indices.type != ArrayView::Type::kInt64) {
    return InvalidArgument(context.Label(),
                           ": sample indices must be int32 or int64.");
  }
  const bool is_tensor = form == EnqueueForm::kSparseTensor;
  const int64_t rank = indices.rank();
  if (rank != 1 && !(is_tensor && rank == 2)) {
    return InvalidArgument(context.Label(), ": sample indices must have rank ",
                           is_tensor ? "1 or 2" : "1", ", not ", rank, ".");
  }
  if (is_tensor && indices.shape[0] == 0) {
    return PlaceDense(context, slots, /*may_be_empty=*/true, placed);
  }
  const int64_t columns = rank == 2 ? indices.shape[1] : 1;
  const int64_t min_columns = slots.is_sequence ? 2 : 1;
  if (columns < min_columns || columns > 2) {
    return InvalidArgument(
        context.Label(), ": sample indices have ", columns, " columns; ",
        slots.is_sequence ? "a sequence needs 2, sample and element."
                          : "expected 1 or 2.");
  }
  if (indices.shape[0] != context.num_ids()) {
    return InvalidArgument(context.Label(), ": ", indices.shape[0],
                           " sample indices for ", context.num_ids(), " ids.");
  }
  placed.positions.resize(context.num_ids());
  return VisitIntegers(indices, [&](const auto* data) {
    return PlaceIndices(context, slots, data, columns, placed);
  });
}

Status PlaceRagged(const InputContext& context, const Slots& slots,
                   PlacedIds& placed) {
  std::vector<int64_t> splits;
  TF_EMBED_RETURN_IF_ERROR(ReadRowSplits(context, splits));
  const int64_t rows = static_cast<int64_t>(splits.size()) - 1;
  const int64_t samples = NumSamples(context, slots);
  if (rows != samples) {
    return InvalidArgument(context.Label(), ": ", rows,
                           " ragged rows; expected ", samples, ".");
  }
  const Placement placement(context, slots);
  placed.positions.resize(context.num_ids());
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t i = splits[row]; i < splits[row + 1]; ++i) {
      placed.positions[i] = placement(row, i - splits[row]);
    }
  }
  return OkStatus();
}

}  // namespace

Status PlaceTableInput(EnqueueForm form, const InputContext& context,
                       const Slots& slots, PlacedIds& placed,
                       int64_t* num_negative) {
  TF_EMBED_RETURN_IF_ERROR(CheckIdsAndWeights(context, num_negative));
  placed.input = &context.input;
  // What weights mean in a sequence is not defined; TensorFlow's own lookup
  // refuses them.
  placed.use_weights = context.has_weights() && !slots.is_sequence &&
                       form != EnqueueForm::kInteger;
  if (form == EnqueueForm::kInteger) {
    TF_EMBED_RETURN_IF_ERROR(
        PlaceDense(context, slots, /*may_be_empty=*/false, placed));
  } else if (form == EnqueueForm::kRagged) {
    TF_EMBED_RETURN_IF_ERROR(PlaceRagged(context, slots, placed));
  } else {
    TF_EMBED_RETURN_IF_ERROR(PlaceSparse(form, context, slots, placed));
  }
  if (*num_negative > 0) DropNegativeIds(placed);
  return OkStatus();
}

}  // namespace tf_embed
