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
#include <utility>

#include "hwy/highway.h"
#include "tf_embed/lookup/pooled_lookup.h"
#include "tf_embed/lookup/prefetch.h"
#include "tf_embed/lookup/table_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;

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
  static constexpr int64_t kMaxAhead = 32;
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

// Ids [begin, end) of one position, or a part of them.
struct IdRun {
  int64_t begin;
  int64_t end;
  bool first = true;  // else the output holds the sum so far
  bool last = true;   // then the sum is scaled
};

// The loop of the contract for one position and some of its columns.
template <bool kWeighted, class Rows, typename Id>
class ColumnSummer {
 public:
  ColumnSummer(const Rows& rows, const BasicPooledIds<Id>& ids)
      : rows_(rows),
        prefetcher_(rows, ids.ids),
        ids_(ids.ids.data()),
        weights_(ids.weights.data()) {}

  const RowPrefetcher<Rows, Id>& prefetcher() const { return prefetcher_; }

  // sizeof...(kI) vectors of columns from k on. One of the calls for a run
  // must prefetch.
  template <bool kPrefetch, size_t... kI>
  HWY_INLINE void Sum(const IdRun& run, const float* scale, size_t k,
                      float* output, std::index_sequence<kI...>) const {
    const FloatTag d;
    using V = hn::Vec<FloatTag>;
    const size_t lanes = hn::Lanes(d);
    float* const out = output + k;
    V sum[] = {((void)kI, hn::Zero(d))...};
    if (!run.first) ((sum[kI] = hn::LoadU(d, out + kI * lanes)), ...);
    for (int64_t j = run.begin; j < run.end; ++j) {
      if constexpr (kPrefetch) prefetcher_.Continue(j);
      const auto* row = rows_.Row(ids_[j]);
      if constexpr (kWeighted) {
        const V w = hn::Set(d, weights_[j]);
        ((sum[kI] = hn::MulAdd(w, rows_.Load(d, row, k + kI * lanes), sum[kI])),
         ...);
      } else {
        ((sum[kI] = hn::Add(sum[kI], rows_.Load(d, row, k + kI * lanes))), ...);
      }
    }
    if (scale != nullptr && run.last) {
      const V s = hn::Set(d, *scale);
      ((sum[kI] = hn::Mul(s, sum[kI])), ...);
    }
    (hn::StoreU(sum[kI], d, out + kI * lanes), ...);
  }

  // The last n columns, n less than a vector.
  HWY_INLINE void SumTail(const IdRun& run, const float* scale, size_t k,
                          size_t n, float* output) const {
    const FloatTag d;
    using V = hn::Vec<FloatTag>;
    V sum = run.first ? hn::Zero(d) : hn::LoadN(d, output + k, n);
    for (int64_t j = run.begin; j < run.end; ++j) {
      const V x = rows_.LoadN(d, rows_.Row(ids_[j]), k, n);
      if constexpr (kWeighted) {
        sum = hn::MulAdd(hn::Set(d, weights_[j]), x, sum);
      } else {
        sum = hn::Add(sum, x);
      }
    }
    if (scale != nullptr && run.last) sum = hn::Mul(hn::Set(d, *scale), sum);
    hn::StoreN(sum, d, output + k, n);
  }

  HWY_INLINE void Prefetch(const IdRun& run) const {
    for (int64_t j = run.begin; j < run.end; ++j) prefetcher_.Continue(j);
  }

 private:
  const Rows rows_;
  const RowPrefetcher<Rows, Id> prefetcher_;
  const Id* const ids_;
  const float* const weights_;
};

// Rows of exactly kVecs vectors: the sum stays in registers.
template <size_t kVecs>
struct FixedWidth {
  template <class Summer>
  static HWY_INLINE void SumPosition(const Summer& summer, int64_t begin,
                                     int64_t end, const float* scale,
                                     size_t /*dim*/, float* output) {
    summer.template Sum<true>(IdRun{begin, end}, scale, 0, output,
                              std::make_index_sequence<kVecs>());
  }
};

// Rows of any width: some columns at a time, for few enough rows that they
// stay in the level-1 cache from the first columns to the last.
struct AnyWidth {
  static constexpr int64_t kBlockIds = 8;

  template <class Summer>
  static HWY_INLINE void SumPosition(const Summer& summer, int64_t begin,
                                     int64_t end, const float* scale,
                                     size_t dim, float* output) {
    IdRun run;
    run.begin = begin;
    do {
      run.end = std::min(run.begin + kBlockIds, end);
      run.first = run.begin == begin;
      run.last = run.end == end;
      SumRun(summer, run, scale, dim, output);
      run.begin = run.end;
    } while (run.begin < end);
  }

 private:
  template <class Summer>
  static HWY_INLINE void SumRun(const Summer& summer, const IdRun& run,
                                const float* scale, size_t dim, float* output) {
    const size_t lanes = hn::Lanes(FloatTag());
    summer.Prefetch(run);
    size_t k = 0;
    for (; k + 8 * lanes <= dim; k += 8 * lanes) {
      summer.template Sum<false>(run, scale, k, output,
                                 std::make_index_sequence<8>());
    }
    if (k + 4 * lanes <= dim) {
      summer.template Sum<false>(run, scale, k, output,
                                 std::make_index_sequence<4>());
      k += 4 * lanes;
    }
    if (k + 2 * lanes <= dim) {
      summer.template Sum<false>(run, scale, k, output,
                                 std::make_index_sequence<2>());
      k += 2 * lanes;
    }
    if (k + lanes <= dim) {
      summer.template Sum<false>(run, scale, k, output,
                                 std::make_index_sequence<1>());
      k += lanes;
    }
    if (k < dim) summer.SumTail(run, scale, k, dim - k, output);
  }
};

// Not inline: the compiler does better on many small functions.
template <class Width, bool kWeighted, class Rows, typename Id>
HWY_NOINLINE void SumPositions(const Rows& rows, const BasicLookupTask<Id>& task,
                             int64_t begin, int64_t end) {
  const BasicPooledIds<Id>& ids = task.ids;
  const ColumnSummer<kWeighted, Rows, Id> summer(rows, ids);
  summer.prefetcher().Start(ids.begin(begin));
  const float* const scales = ids.scales.empty() ? nullptr : ids.scales.data();
  float* output = task.output + begin * task.dim;
  if (ids.offsets.empty()) {
    for (int64_t p = begin; p < end; ++p, output += task.dim) {
      Width::SumPosition(summer, p, p + 1, scales ? scales + p : nullptr,
                         task.dim, output);
    }
    return;
  }
  const int64_t* const offsets = ids.offsets.data();
  for (int64_t p = begin; p < end; ++p, output += task.dim) {
    Width::SumPosition(summer, offsets[p], offsets[p + 1],
                       scales ? scales + p : nullptr, task.dim, output);
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

template <size_t kVecs, typename Id>
HWY_INLINE void LookupFixedWidth(const BasicLookupTask<Id>& task,
                                 int64_t begin, int64_t end) {
  constexpr int64_t kDim = kVecs * hn::MaxLanes(FloatTag());
  LookupRows<FixedWidth<kVecs>>(FloatRows<kDim>(task.weights, kDim), task,
                                begin, end);
}

// Positions [begin, end) of `task`.
template <typename Id>
void LookupPositions(const BasicLookupTask<Id>& task, int64_t begin,
                     int64_t end) {
  if (task.quantization != nullptr) {
    const SimulatedQuantizationRows rows(task.weights, task.dim,
                                         *task.quantization);
    LookupRows<AnyWidth>(rows, task, begin, end);
    return;
  }
  const int64_t lanes = hn::Lanes(FloatTag());
  if (task.dim == lanes) {
    LookupFixedWidth<1>(task, begin, end);
  } else if (task.dim == 2 * lanes) {
    LookupFixedWidth<2>(task, begin, end);
  } else if (task.dim == 4 * lanes) {
    LookupFixedWidth<4>(task, begin, end);
  } else if (task.dim == 8 * lanes) {
    LookupFixedWidth<8>(task, begin, end);
  } else {
    LookupRows<AnyWidth>(FloatRows<>(task.weights, task.dim), task, begin, end);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
