#include "tf_embed/engine/enqueue_input.h"

#include <cstddef>
#include <utility>

namespace tf_embed {
namespace {

bool IsInteger(const ArrayView& array) {
  return array.type == ArrayView::Type::kInt32 ||
         array.type == ArrayView::Type::kInt64;
}

// Whether any id is outside [0, limit). The sign bit of (id | (limit-1-id)) is
// set just for those, which the compiler can do for many ids at a time.
template <typename T>
bool AnyOutside(const T* ids, int64_t n, int64_t limit) {
  const uint64_t last = static_cast<uint64_t>(limit - 1);
  uint64_t bits = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint64_t id = static_cast<uint64_t>(static_cast<int64_t>(ids[i]));
    bits |= id | (last - id);
  }
  return (bits >> 63) != 0;
}

}  // namespace

std::string InputContext::Label() const {
  if (feature < 0) {
    return StrCat("input ", index, " (table '", table().name, "')");
  }
  return StrCat("input ", index, " (feature '", config.features[feature].name,
                "', table '", table().name, "')");
}

Status CheckIdsAndWeights(const InputContext& context, int64_t* num_negative) {
  *num_negative = 0;
  const ArrayView& ids = context.input.ids;
  const ArrayView& weights = context.input.weights;
  if (!IsInteger(ids)) {
    return InvalidArgument(context.Label(), ": ids must be int32 or int64.");
  }
  if (ids.rank() != 1) {
    return InvalidArgument(context.Label(), ": ids must have rank 1, not ",
                           ids.rank(), ".");
  }
  const int64_t num_ids = ids.num_elements();
  if (weights.data != nullptr || weights.rank() != 0) {
    if (IsInteger(weights)) {
      return InvalidArgument(context.Label(),
                             ": weights must be float32 or float64.");
    }
    if (weights.rank() != 1) {
      return InvalidArgument(context.Label(),
                             ": weights must have rank 1, not ", weights.rank(),
                             ".");
    }
    const int64_t num_weights = weights.num_elements();
    if (num_weights != 0 && num_weights != num_ids) {
      return InvalidArgument(context.Label(), ": ", num_weights,
                             " weights for ", num_ids,
                             " ids; expected as many, or none.");
    }
  }
  const int64_t limit = context.table().vocabulary_size;
  return VisitIntegers(ids, [&](const auto* data) -> Status {
    if (!AnyOutside(data, num_ids, limit)) return OkStatus();
    for (int64_t i = 0; i < num_ids; ++i) {
      const int64_t id = data[i];
      if (id >= limit || (id < 0 && !context.prune_negative_ids)) {
        return InvalidArgument(context.Label(), ": id ", id, " at index ", i,
                               " is outside [0, ", limit, ").");
      }
      *num_negative += id < 0;
    }
    return OkStatus();
  });
}

Status ReadRowSplits(const InputContext& context,
                     std::vector<int64_t>& offsets) {
  const ArrayView& splits = context.input.indices_or_splits;
  if (!IsInteger(splits) || splits.rank() != 1) {
    return InvalidArgument(context.Label(),
                           ": row splits must be int32 or int64 of rank 1.");
  }
  const int64_t size = splits.num_elements();
  if (size == 0) {
    return InvalidArgument(context.Label(), ": row splits are empty; even no ",
                           "row has one, 0.");
  }
  offsets.resize(size);
  const bool decreases = VisitIntegers(splits, [&](const auto* data) {
    bool decreases = false;
    offsets[0] = data[0];
    for (int64_t i = 1; i < size; ++i) {
      offsets[i] = data[i];
      decreases |= data[i] < data[i - 1];
    }
    return decreases;
  });
  if (offsets[0] != 0) {
    return InvalidArgument(context.Label(), ": row splits begin with ",
                           offsets[0], " instead of 0.");
  }
  if (decreases) {
    int64_t i = 1;
    while (offsets[i] >= offsets[i - 1]) ++i;
    return InvalidArgument(context.Label(), ": row splits decrease from ",
                           offsets[i - 1], " to ", offsets[i], " at index ", i,
                           ".");
  }
  if (offsets.back() != context.num_ids()) {
    return InvalidArgument(context.Label(), ": row splits end with ",
                           offsets.back(), ", but there are ",
                           context.num_ids(), " ids.");
  }
  return OkStatus();
}

void AppendIds(const ArrayView& ids, std::vector<int64_t>& out) {
  VisitIntegers(ids, [&](const auto* data) {
    out.insert(out.end(), data, data + ids.num_elements());
  });
}

void AppendWeights(const ArrayView& weights, std::vector<float>& out) {
  const int64_t n = weights.num_elements();
  if (weights.type == ArrayView::Type::kFloat32) {
    const auto* data = static_cast<const float*>(weights.data);
    out.insert(out.end(), data, data + n);
    return;
  }
  const auto* data = static_cast<const double*>(weights.data);
  const size_t begin = out.size();
  out.resize(begin + n);
  for (int64_t i = 0; i < n; ++i) out[begin + i] = static_cast<float>(data[i]);
}

}  // namespace tf_embed
