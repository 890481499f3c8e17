// PooledLookup on a range of positions of one task.

// Per-target include guard.
#if defined(TF_EMBED_TF_EMBED_LOOKUP_POOLED_LOOKUP_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef TF_EMBED_TF_EMBED_LOOKUP_POOLED_LOOKUP_INL_H_
#undef TF_EMBED_TF_EMBED_LOOKUP_POOLED_LOOKUP_INL_H_
#else
#define TF_EMBED_TF_EMBED_LOOKUP_POOLED_LOOKUP_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "tf_embed/base/prefetch.h"
#include "tf_embed/lookup/low_precision_rows-inl.h"
#include "tf_embed/lookup/pooled_lookup.h"
#include "tf_embed/lookup/row_format.h"
#include "tf_embed/lookup/row_sum-inl.h"
#include "tf_embed/lookup/table_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Prefetches the rows of a task some ids ahead of their use, regardless of
// where positions end: with short bags most of the latency is hidden only so.
template <class Rows, typename Id>
class RowPrefetcher {
 public:
  RowPrefetcher(const Rows& rows, Span<const Id> ids)
      : rows_(rows),
        ids_(ids.data()),
        last_(static_cast<int64_t>(ids.size()) - 1),
        // Rows in flight should fit the level-2 cache many times over.
        ahead_(std::clamp<int64_t>(kBytesAhead / rows.row_bytes(), kMinAhead,
                                   kMaxAhead)) {}

  // Before id `j`, the first to be used.
  HWY_INLINE void Start(int64_t j) const {
    for (int64_t i = j; i < std::min(j + ahead_, last_ + 1); ++i) Fetch(i);
  }

  // When id `j` is used.
  HWY_INLINE void Continue(int64_t j) const {
    Fetch(std::min(j + ahead_, last_));
  }

 private:
  static constexpr int64_t kMaxAhead = 64;
  static constexpr int64_t kMinAhead = 4;
  static constexpr int64_t kBytesAhead = 32 << 10;

  HWY_INLINE void Fetch(int64_t j) const {
    PrefetchRow<ToLevel2>(rows_.Row(ids_[j]), rows_.row_bytes());
  }

  const Rows rows_;
  const Id* const ids_;
  const int64_t last_;
  const int64_t ahead_;
};

// Prefetches the output some positions ahead of their sums. Among reads from
// all over a table the hardware does not see that the output is written in
// order.
class OutputPrefetcher {
 public:
  // Of positions before `end`.
  OutputPrefetcher(float* output, int64_t dim, int64_t end)
      : output_(output),
        dim_(dim),
        row_bytes_(dim * sizeof(float)),
        last_(end - 1),
        ahead_(std::clamp<int64_t>(kBytesAhead / row_bytes_, 1, kMaxAhead)) {}

  // When the sum of position `p` is begun.
  HWY_INLINE void Continue(int64_t p) const {
    PrefetchRow<ToWrite>(output_ + std::min(p + ahead_, last_) * dim_,
                         row_bytes_);
  }

 private:
  static constexpr int64_t kMaxAhead = 16;
  static constexpr int64_t kBytesAhead = 2 << 10;

  float* const output_;
  const int64_t dim_;
  const int64_t row_bytes_;
  const int64_t last_;
  const int64_t ahead_;
};

// The terms that a lookup adds up: w_j * row(ids[j]).
template <bool kHasWeights, class Rows, typename Id>
class LookupTerms {
 public:
  static constexpr bool kWeighted = kHasWeights;

  LookupTerms(const Rows& rows, const BasicPooledIds<Id>& ids)
      : rows_(rows),
        prefetcher_(rows, ids.ids),
        ids_(ids.ids.data()),
        weights_(ids.weights.data()) {}

  const Rows& rows() const { return rows_; }
  HWY_INLINE auto Row(int64_t j) const { return rows_.Row(ids_[j]); }
  HWY_INLINE float Weight(int64_t j) const { return weights_[j]; }
  HWY_INLINE void Prefetch(int64_t j) const { prefetcher_.Continue(j); }
  HWY_INLINE void StartPrefetch(int64_t j) const { prefetcher_.Start(j); }

 private:
  const Rows rows_;
  const RowPrefetcher<Rows, Id> prefetcher_;
  const Id* const ids_;
  const float* const weights_;
};

// Not inline: the compiler does better on many small functions.
template <class Width, bool kWeighted, class Rows, typename Id>
HWY_NOINLINE void SumPositions(const Rows& rows,
                               const BasicLookupTask<Id>& task, int64_t begin,
                               int64_t end) {
  const BasicPooledIds<Id>& ids = task.ids;
  const LookupTerms<kWeighted, Rows, Id> terms(rows, ids);
  terms.StartPrefetch(ids.begin(begin));
  const float* const scales = ids.scales.empty() ? nullptr : ids.scales.data();
  float* output = task.output + begin * task.dim;
  const OutputPrefetcher outputs(task.output, task.dim, end);
  if (ids.offsets.empty()) {
    for (int64_t p = begin; p < end; ++p, output += task.dim) {
      outputs.Continue(p);
      Width::Sum(terms, p, p + 1, scales ? scales + p : nullptr, task.dim,
                 output);
    }
    return;
  }
  const int64_t* const offsets = ids.offsets.data();
  for (int64_t p = begin; p < end; ++p, output += task.dim) {
    outputs.Continue(p);
    Width::Sum(terms, offsets[p], offsets[p + 1], scales ? scales + p : nullptr,
               task.dim, output);
  }
}

template <class Width, class Rows, typename Id>
HWY_INLINE void LookupRows(const Rows& rows, const BasicLookupTask<Id>& task,
                           int64_t begin, int64_t end) {
  if (task.ids.weights.empty()) {
    SumPositions<Width, false>(rows, task, begin, end);
  } else {
    SumPositions<Width, true>(rows, task, begin, end);
  }
}

template <template <int64_t> class Rows, size_t kVecs, typename Id>
HWY_INLINE void LookupFixedWidth(const BasicLookupTask<Id>& task, int64_t begin,
                                 int64_t end) {
  constexpr int64_t kDim = kVecs * hn::MaxLanes(FloatTag());
  LookupRows<FixedWidth<kVecs>>(Rows<kDim>(task.weights, kDim), task, begin,
                                end);
}

// Rows whose format has a version for widths that the compiler knows.
template <template <int64_t> class Rows, typename Id>
void LookupFormat(const BasicLookupTask<Id>& task, int64_t begin, int64_t end) {
  const int64_t lanes = hn::Lanes(FloatTag());
  if (task.dim == lanes) {
    LookupFixedWidth<Rows, 1>(task, begin, end);
  } else if (task.dim == 2 * lanes) {
    LookupFixedWidth<Rows, 2>(task, begin, end);
  } else if (task.dim == 4 * lanes) {
    LookupFixedWidth<Rows, 4>(task, begin, end);
  } else if (task.dim == 8 * lanes) {
    LookupFixedWidth<Rows, 8>(task, begin, end);
  } else if (task.dim < lanes) {
    LookupRows<LessThanAVector>(Rows<0>(task.weights, task.dim), task, begin,
                                end);
  } else {
    LookupRows<AnyWidth>(Rows<0>(task.weights, task.dim), task, begin, end);
  }
}

// Positions [begin, end) of `task`.
template <typename Id>
void LookupPositions(const BasicLookupTask<Id>& task, int64_t begin,
                     int64_t end) {
  switch (task.format) {
    case RowFormat::kFloat32:
      if (task.quantization != nullptr) {
        const SimulatedQuantizationRows rows(task.weights, task.dim,
                                             *task.quantization);
        LookupRows<AnyWidth>(rows, task, begin, end);
        return;
      }
      return LookupFormat<FloatRows>(task, begin, end);
    case RowFormat::kBfloat16:
      return LookupFormat<Bfloat16Rows>(task, begin, end);
    case RowFormat::kFloat16:
      return LookupFormat<Float16Rows>(task, begin, end);
    case RowFormat::kInt8:
      return LookupFormat<Int8Rows>(task, begin, end);
    case RowFormat::kInt4:
      return LookupFormat<Int4Rows>(task, begin, end);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
