#include "tf_embed/serving/feature_ids.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <sstream>
#include <unordered_set>

namespace tf_embed {
namespace {

constexpr int64_t kLeftOut = -1;

// An int32 or int64 array, read with a branch an element: for the paths that
// copy anyway.
class Integers {
 public:
  explicit Integers(const ArrayView& view)
      : wide_(view.type == ArrayView::Type::kInt64), data_(view.data) {}
  int64_t operator[](int64_t i) const {
    return wide_ ? static_cast<const int64_t*>(data_)[i]
                 : static_cast<const int32_t*>(data_)[i];
  }

 private:
  const bool wide_;
  const void* const data_;
};

std::string Of(const FeatureSpec& spec) {
  return StrCat(" (feature '", spec.name, "')");
}

Status NotInTable(const FeatureSpec& spec, const std::string& position,
                  int64_t id, int64_t table_rows) {
  return InvalidArgument("indices", position, " = ", id, " is not in [0, ",
                         table_rows, ")", Of(spec));
}

std::string At(int64_t i) { return StrCat("[", i, "]"); }

// The place of element i of a row-major array: "[1,0]"; nothing for a scalar.
std::string CoordinatesOf(int64_t i, Span<const int64_t> shape) {
  if (shape.empty()) return "";
  std::vector<int64_t> coordinates(shape.size());
  for (size_t axis = shape.size(); axis-- > 0;) {
    coordinates[axis] = i % shape[axis];
    i /= shape[axis];
  }
  std::ostringstream out;
  for (size_t axis = 0; axis < coordinates.size(); ++axis) {
    out << (axis == 0 ? '[' : ',') << coordinates[axis];
  }
  out << ']';
  return out.str();
}

bool AllPositive(const float* values, int64_t size) {
  bool all = true;
  for (int64_t i = 0; i < size; ++i) all &= values[i] > 0;
  return all;
}

// a * b, or false where it does not fit.
bool Multiply(int64_t a, int64_t b, int64_t* product) {
  return !__builtin_mul_overflow(a, b, product);
}

Status Resize(const FeatureSpec& spec, int64_t size,
              std::vector<int64_t>& vector) {
  try {
    vector.resize(size);
  } catch (const std::exception&) {
    return ResourceExhausted("no memory for ", size, " output positions",
                             Of(spec));
  }
  return OkStatus();
}

Status CheckSparse(const FeatureSpec& spec, const FeatureInput& input) {
  const Span<const int64_t> shape = input.indices_or_splits.shape;
  if (shape.size() != 2 || shape[0] != input.ids.num_elements() ||
      shape[1] != static_cast<int64_t>(input.dense_shape.size()) ||
      shape[1] < 1) {
    return InvalidArgument("a sparse tensor needs indices of shape [",
                           input.ids.num_elements(), ", ",
                           input.dense_shape.size(), "]", Of(spec));
  }
  for (int64_t size : input.dense_shape) {
    if (size < 0) {
      return InvalidArgument("dense_shape has the negative size ", size,
                             Of(spec));
    }
  }
  return OkStatus();
}

}  // namespace

Status FeatureIds::Group(const FeatureSpec& spec, const FeatureInput& input,
                         int64_t table_rows) {
  pooled_ = PooledIds();
  position_shape_.clear();
  zero_positions_.clear();
  entries_.clear();
  if (input.weighted &&
      input.weights.num_elements() != input.ids.num_elements()) {
    return InvalidArgument("there are ", input.weights.num_elements(),
                           " weights for ", input.ids.num_elements(), " ids",
                           Of(spec));
  }
  switch (spec.form) {
    case FeatureForm::kDense:
      return GroupDense(spec, input, table_rows);
    case FeatureForm::kSparse:
      return GroupSparse(spec, input, table_rows);
    case FeatureForm::kSparseSafe:
      return GroupSparseSafe(spec, input, table_rows);
    case FeatureForm::kSparseSequence:
      return GroupSparseSequence(spec, input, table_rows);
    case FeatureForm::kRagged:
    case FeatureForm::kRaggedSequence:
      return GroupRagged(spec, input, table_rows);
  }
  return Internal("unknown feature form");
}

bool FeatureIds::LoadIds(const ArrayView& ids, int64_t table_rows) {
  const int64_t size = ids.num_elements();
  const uint64_t rows = static_cast<uint64_t>(table_rows);
  bool all = true;
  if (ids.type == ArrayView::Type::kInt64) {
    const int64_t* data = static_cast<const int64_t*>(ids.data);
    // A negative id is a huge unsigned one.
    for (int64_t i = 0; i < size; ++i) {
      all &= static_cast<uint64_t>(data[i]) < rows;
    }
    pooled_.ids = {data, static_cast<size_t>(size)};
    return all;
  }
  ids_.resize(size);
  const int32_t* data = static_cast<const int32_t*>(ids.data);
  int64_t* out = ids_.data();
  for (int64_t i = 0; i < size; ++i) {
    out[i] = data[i];
    all &= static_cast<uint64_t>(out[i]) < rows;
  }
  pooled_.ids = ids_;
  return all;
}

Status FeatureIds::SetPositions(const FeatureSpec& spec, int64_t count) {
  if (count < 0 || count == INT64_MAX) {
    return InvalidArgument("too many output positions", Of(spec));
  }
  pooled_.num_positions = count;
  TF_EMBED_RETURN_IF_ERROR(Resize(spec, count + 1, offsets_));
  pooled_.offsets = offsets_;
  return OkStatus();
}

void FeatureIds::SetScales(Combiner combiner) {
  if (combiner == Combiner::kSum) return;
  const int64_t num_positions = pooled_.num_positions;
  scales_.resize(num_positions);
  const int64_t* offsets = pooled_.offsets.data();
  const bool mean = combiner == Combiner::kMean;
  if (pooled_.weights.empty()) {
    for (int64_t p = 0; p < num_positions; ++p) {
      const float count = static_cast<float>(offsets[p + 1] - offsets[p]);
      scales_[p] = count == 0 ? 1.0f : 1.0f / (mean ? count : std::sqrt(count));
    }
  } else {
    const float* weights = pooled_.weights.data();
    for (int64_t p = 0; p < num_positions; ++p) {
      float total = 0;
      for (int64_t j = offsets[p]; j < offsets[p + 1]; ++j) {
        total += mean ? weights[j] : weights[j] * weights[j];
      }
      if (!mean) total = std::sqrt(total);
      if (total == 0 && offsets[p] < offsets[p + 1])
        zero_positions_.push_back(p);
      scales_[p] = total == 0 ? 0.0f : 1.0f / total;
    }
  }
  pooled_.scales = scales_;
}

Status FeatureIds::GroupDense(const FeatureSpec& spec,
                              const FeatureInput& input, int64_t table_rows) {
  if (!LoadIds(input.ids, table_rows)) {
    int64_t i = 0;
    while (pooled_.ids[i] >= 0 && pooled_.ids[i] < table_rows) ++i;
    return NotInTable(spec, CoordinatesOf(i, input.ids.shape), pooled_.ids[i],
                      table_rows);
  }
  pooled_.num_positions = pooled_.ids.size();
  position_shape_.assign(input.ids.shape.begin(), input.ids.shape.end());
  return OkStatus();
}

Status FeatureIds::LoadWeights(const FeatureSpec& spec,
                               const FeatureInput& input) {
  if (!input.weighted) return OkStatus();
  pooled_.weights = {static_cast<const float*>(input.weights.data),
                     static_cast<size_t>(input.weights.num_elements())};
  if (input.weight_splits.data == nullptr) return OkStatus();
  const Integers splits(input.weight_splits);
  const int64_t size = input.weight_splits.num_elements();
  bool same = size == static_cast<int64_t>(pooled_.offsets.size());
  for (int64_t i = 0; same && i < size; ++i) {
    same = splits[i] == pooled_.offsets[i];
  }
  if (!same) {
    return InvalidArgument(
        "Condition x == y did not hold element-wise: the row splits of the "
        "weights are not those of the ids",
        Of(spec));
  }
  return OkStatus();
}

Status FeatureIds::CheckGroupedIds(const FeatureSpec& spec, int64_t table_rows,
                                   bool empty_positions_ask_for_row_0) const {
  bool all = true;
  for (int64_t id : pooled_.ids) {
    all &= static_cast<uint64_t>(id) < static_cast<uint64_t>(table_rows);
  }
  if (all) return OkStatus();
  // TensorFlow gathers each id once, in the order of first appearance, and has
  // put id 0 into empty positions before; its message counts in that list.
  std::unordered_set<int64_t> seen;
  for (int64_t p = 0; p < pooled_.num_positions; ++p) {
    const int64_t begin = pooled_.offsets[p], end = pooled_.offsets[p + 1];
    if (begin == end && empty_positions_ask_for_row_0) seen.insert(0);
    for (int64_t j = begin; j < end; ++j) {
      const int64_t id = pooled_.ids[j];
      if (id < 0 || id >= table_rows) {
        return NotInTable(spec, At(seen.size()), id, table_rows);
      }
      seen.insert(id);
    }
  }
  return Internal("an id out of range was lost", Of(spec));
}

void FeatureIds::SortByPosition() {
  const int64_t num_positions = pooled_.num_positions;
  std::fill(offsets_.begin(), offsets_.end(), 0);
  int64_t kept = 0;
  bool in_order = true;
  int64_t last = 0;
  for (int64_t position : positions_) {
    if (position == kLeftOut) continue;
    in_order &= position >= last;
    last = position;
    ++offsets_[position + 1];
    ++kept;
  }
  for (int64_t p = 0; p < num_positions; ++p) offsets_[p + 1] += offsets_[p];
  if (in_order && kept == static_cast<int64_t>(positions_.size())) return;

  next_.assign(offsets_.begin(), offsets_.end() - 1);
  grouped_ids_.resize(kept);
  entries_.resize(kept);
  const bool weighted = !pooled_.weights.empty();
  if (weighted) weights_.resize(kept);
  for (size_t i = 0; i < positions_.size(); ++i) {
    if (positions_[i] == kLeftOut) continue;
    const int64_t place = next_[positions_[i]]++;
    grouped_ids_[place] = pooled_.ids[i];
    entries_[place] = i;
    if (weighted) weights_[place] = pooled_.weights[i];
  }
  pooled_.ids = grouped_ids_;
  if (weighted) pooled_.weights = weights_;
}

Status FeatureIds::GroupSparse(const FeatureSpec& spec,
                               const FeatureInput& input, int64_t table_rows) {
  TF_EMBED_RETURN_IF_ERROR(CheckSparse(spec, input));
  const int64_t num_ids = input.ids.num_elements();
  const int64_t rank = input.dense_shape.size();
  const Integers indices(input.indices_or_splits);
  if (!LoadIds(input.ids, table_rows)) {
    offsets_ = {0, num_ids};
    pooled_.num_positions = 1;
    pooled_.offsets = offsets_;
    return CheckGroupedIds(spec, table_rows, false);
  }
  const int64_t rows = num_ids == 0 ? 0 : indices[(num_ids - 1) * rank] + 1;
  if (rows < 0 || (num_ids > 0 && rows == 0)) {
    return InvalidArgument("segment ids must be >= 0", Of(spec));
  }
  TF_EMBED_RETURN_IF_ERROR(SetPositions(spec, rows));
  int64_t filled = -1;  // offsets_ is set up to here
  for (int64_t i = 0; i < num_ids; ++i) {
    const int64_t row = indices[i * rank];
    if (i + 1 < num_ids && indices[(i + 1) * rank] < row) {
      return InvalidArgument("segment ids are not increasing", Of(spec));
    }
    if (row < 0 || row >= rows) {
      return InvalidArgument("Segment id ", row, " out of range [0, ", rows,
                             "), possibly because 'segment_ids' input is not "
                             "sorted.",
                             Of(spec));
    }
    while (filled < row) offsets_[++filled] = i;
  }
  offsets_[rows] = num_ids;
  TF_EMBED_RETURN_IF_ERROR(LoadWeights(spec, input));
  SetScales(spec.combiner);
  position_shape_ = {rows};
  return OkStatus();
}

Status FeatureIds::GroupSparseSafe(const FeatureSpec& spec,
                                   const FeatureInput& input,
                                   int64_t table_rows) {
  TF_EMBED_RETURN_IF_ERROR(CheckSparse(spec, input));
  const int64_t num_ids = input.ids.num_elements();
  const Span<const int64_t> shape = input.dense_shape;
  const int64_t rank = shape.size();
  position_shape_.assign(shape.begin(), shape.end() - 1);
  int64_t rows = 1;
  for (int64_t size : position_shape_) {
    if (!Multiply(rows, size, &rows)) rows = -1;
    if (rows < 0) break;
  }
  TF_EMBED_RETURN_IF_ERROR(SetPositions(spec, rows));
  if (rank != 2 && num_ids > 0 && (rows == 0 || shape.back() == 0)) {
    return InvalidArgument("Input tensor has ", num_ids,
                           " non zero elements but its shape is empty",
                           Of(spec));
  }
  const bool in_table = LoadIds(input.ids, table_rows);
  TF_EMBED_RETURN_IF_ERROR(LoadWeights(spec, input));
  const bool prune_weights = input.weighted && spec.combiner != Combiner::kSum;
  const float* weights = pooled_.weights.data();
  const bool keep_all =
      in_table && (!prune_weights || AllPositive(weights, num_ids));

  const Integers indices(input.indices_or_splits);
  // Where the coordinates overflow their axes, TensorFlow carries over to the
  // row that the linear position falls into; but not at rank 2.
  const auto row_of = [&](int64_t i) {
    if (rank == 2) return indices[i * 2];
    int64_t linear = 0;
    for (int64_t axis = 0; axis < rank; ++axis) {
      linear = linear * shape[axis] + indices[i * rank + axis];
    }
    return linear / shape.back();
  };

  if (keep_all && rank == 2) {
    // The common case in one pass: nothing to leave out, rows in order.
    int64_t row = -1;
    bool in_order = true;
    for (int64_t i = 0; i < num_ids && in_order; ++i) {
      const int64_t next = indices[i * 2];
      in_order = next >= row && next >= 0 && next < rows;
      if (in_order) {
        while (row < next) offsets_[++row] = i;
      }
    }
    if (in_order) {
      while (row < rows) offsets_[++row] = num_ids;
      SetScales(spec.combiner);
      return OkStatus();
    }
  }

  positions_.resize(num_ids);
  int64_t kept = 0;
  for (int64_t i = 0; i < num_ids; ++i) {
    positions_[i] = kLeftOut;
    if (pooled_.ids[i] < 0) continue;
    if (prune_weights && !(weights[i] > 0)) continue;
    const int64_t row = row_of(i);
    if (row < 0 || row >= rows) {
      return InvalidArgument("indices(", kept, ", 0) is invalid: ", row,
                             " >= ", rows, Of(spec));
    }
    positions_[i] = row;
    ++kept;
  }
  SortByPosition();
  TF_EMBED_RETURN_IF_ERROR(CheckGroupedIds(spec, table_rows, true));
  SetScales(spec.combiner);
  return OkStatus();
}

Status FeatureIds::GroupSparseSequence(const FeatureSpec& spec,
                                       const FeatureInput& input,
                                       int64_t table_rows) {
  TF_EMBED_RETURN_IF_ERROR(CheckSparse(spec, input));
  if (input.dense_shape.size() != 2) {
    return InvalidArgument(
        "a sequence feature needs a sparse tensor of rank 2, "
        "not ",
        input.dense_shape.size(), Of(spec));
  }
  const int64_t rows = input.dense_shape[0];
  const int64_t length = spec.sequence_length;
  int64_t positions = 0;
  if (!Multiply(rows, length, &positions)) positions = -1;
  TF_EMBED_RETURN_IF_ERROR(SetPositions(spec, positions));
  position_shape_ = {rows, length};
  LoadIds(input.ids, table_rows);
  const int64_t num_ids = input.ids.num_elements();
  const Integers indices(input.indices_or_splits);
  positions_.resize(num_ids);
  int64_t kept = 0;
  for (int64_t i = 0; i < num_ids; ++i) {
    const int64_t row = indices[i * 2];
    const int64_t column = indices[i * 2 + 1];
    if (row < 0 || row >= rows || column < 0 || column >= length) {
      positions_[i] = kLeftOut;
      continue;
    }
    const int64_t id = pooled_.ids[i];
    if (id < 0 || id >= table_rows) {
      return NotInTable(spec, At(kept), id, table_rows);
    }
    positions_[i] = row * length + column;
    ++kept;
  }
  SortByPosition();
  return OkStatus();
}

Status FeatureIds::LoadSplits(const FeatureSpec& spec,
                              const ArrayView& splits) {
  const int64_t size = splits.num_elements();
  if (splits.rank() != 1 || size < 1) {
    return InvalidArgument(
        "row splits must be a vector of at least one element", Of(spec));
  }
  if (splits.type == ArrayView::Type::kInt64) {
    pooled_.offsets = {static_cast<const int64_t*>(splits.data),
                       static_cast<size_t>(size)};
  } else {
    const Integers values(splits);
    offsets_.resize(size);
    for (int64_t i = 0; i < size; ++i) offsets_[i] = values[i];
    pooled_.offsets = offsets_;
  }
  pooled_.num_positions = size - 1;
  const int64_t num_ids = pooled_.ids.size();
  if (pooled_.offsets[0] != 0) {
    return InvalidArgument("row splits must begin with 0, not ",
                           pooled_.offsets[0], Of(spec));
  }
  for (int64_t i = 1; i < size; ++i) {
    if (pooled_.offsets[i] < pooled_.offsets[i - 1]) {
      return InvalidArgument("Invalid row split size: row_splits[", i,
                             "] = ", pooled_.offsets[i], " is less than ",
                             pooled_.offsets[i - 1], Of(spec));
    }
  }
  if (pooled_.offsets.back() != num_ids) {
    return InvalidArgument("row splits end at ", pooled_.offsets.back(),
                           ", but there are ", num_ids, " ids", Of(spec));
  }
  return OkStatus();
}

Status FeatureIds::GroupRagged(const FeatureSpec& spec,
                               const FeatureInput& input, int64_t table_rows) {
  const bool in_table = LoadIds(input.ids, table_rows);
  if (!in_table) {
    int64_t i = 0;
    while (pooled_.ids[i] >= 0 && pooled_.ids[i] < table_rows) ++i;
    return NotInTable(spec, At(i), pooled_.ids[i], table_rows);
  }
  TF_EMBED_RETURN_IF_ERROR(LoadSplits(spec, input.indices_or_splits));
  const int64_t rows = pooled_.num_positions;
  if (spec.form == FeatureForm::kRagged) {
    TF_EMBED_RETURN_IF_ERROR(LoadWeights(spec, input));
    SetScales(spec.combiner);
    position_shape_ = {rows};
    return OkStatus();
  }
  const int64_t length = spec.sequence_length;
  positions_.resize(pooled_.ids.size());
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t begin = pooled_.offsets[row];
    for (int64_t j = begin; j < pooled_.offsets[row + 1]; ++j) {
      positions_[j] =
          j - begin < length ? row * length + (j - begin) : kLeftOut;
    }
  }
  int64_t positions = 0;
  if (!Multiply(rows, length, &positions)) positions = -1;
  TF_EMBED_RETURN_IF_ERROR(SetPositions(spec, positions));
  position_shape_ = {rows, length};
  SortByPosition();
  return OkStatus();
}

}  // namespace tf_embed
