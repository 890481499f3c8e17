// Weighted sums of rows: the inner loop of lookups, and of gradients that go to
// the same row.
//
// What is added up is described by a class `Terms` with
//   kWeighted      whether terms have weights
//   rows()         the row format (table_rows-inl.h)
//   Row(j)         the row of term j
//   Weight(j)      its weight, if kWeighted
//   Prefetch(j)    called when term j is used: fetch a later one

// Per-target include guard.
#if defined(TF_EMBED_TF_EMBED_LOOKUP_ROW_SUM_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef TF_EMBED_TF_EMBED_LOOKUP_ROW_SUM_INL_H_
#undef TF_EMBED_TF_EMBED_LOOKUP_ROW_SUM_INL_H_
#else
#define TF_EMBED_TF_EMBED_LOOKUP_ROW_SUM_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "hwy/highway.h"
#include "tf_embed/lookup/table_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using FloatTag = hn::ScalableTag<float>;

// Some terms of one sum, in order.
struct TermRange {
  int64_t begin;
  int64_t end;
  bool first = true;  // else the output holds the sum so far
  bool last = true;   // then the sum is scaled
};

// sizeof...(kI) vectors of columns, from column k on. `scale` may be null.
template <bool kPrefetch, class Terms, size_t... kI>
HWY_INLINE void SumColumns(const Terms& terms, const TermRange& range,
                           const float* scale, size_t k, float* output,
                           std::index_sequence<kI...>) {
  const FloatTag d;
  using V = hn::Vec<FloatTag>;
  const size_t lanes = hn::Lanes(d);
  float* const out = output + k;
  V sum[] = {((void)kI, hn::Zero(d))...};
  if (!range.first) ((sum[kI] = hn::LoadU(d, out + kI * lanes)), ...);
  for (int64_t j = range.begin; j < range.end; ++j) {
    if constexpr (kPrefetch) terms.Prefetch(j);
    const auto* row = terms.Row(j);
    if constexpr (Terms::kWeighted) {
      const V w = hn::Set(d, terms.Weight(j));
      ((sum[kI] =
            hn::MulAdd(w, terms.rows().Load(d, row, k + kI * lanes), sum[kI])),
       ...);
    } else {
      ((sum[kI] = hn::Add(sum[kI], terms.rows().Load(d, row, k + kI * lanes))),
       ...);
    }
  }
  if (scale != nullptr && range.last) {
    const V s = hn::Set(d, *scale);
    ((sum[kI] = hn::Mul(s, sum[kI])), ...);
  }
  (hn::StoreU(sum[kI], d, out + kI * lanes), ...);
}

// The last n columns, n less than a vector.
template <class Terms>
HWY_INLINE void SumTailColumns(const Terms& terms, const TermRange& range,
                               const float* scale, size_t k, size_t n,
                               float* output) {
  const FloatTag d;
  using V = hn::Vec<FloatTag>;
  V sum = range.first ? hn::Zero(d) : hn::LoadN(d, output + k, n);
  for (int64_t j = range.begin; j < range.end; ++j) {
    const V x = terms.rows().LoadN(d, terms.Row(j), k, n);
    if constexpr (Terms::kWeighted) {
      sum = hn::MulAdd(hn::Set(d, terms.Weight(j)), x, sum);
    } else {
      sum = hn::Add(sum, x);
    }
  }
  if (scale != nullptr && range.last) sum = hn::Mul(hn::Set(d, *scale), sum);
  hn::StoreN(sum, d, output + k, n);
}

// Rows of exactly kVecs vectors: the sum stays in registers.
template <size_t kVecs>
struct FixedWidth {
  template <class Terms>
  static HWY_INLINE void Sum(const Terms& terms, int64_t begin, int64_t end,
                             const float* scale, size_t /*dim*/,
                             float* output) {
    SumColumns<true>(terms, TermRange{begin, end}, scale, 0, output,
                     std::make_index_sequence<kVecs>());
  }
};

// Rows of any width: some columns at a time, for few enough rows that they
// stay in the level-1 cache from the first columns to the last.
struct AnyWidth {
  static constexpr int64_t kBlockTerms = 8;

  template <class Terms>
  static HWY_INLINE void Sum(const Terms& terms, int64_t begin, int64_t end,
                             const float* scale, size_t dim, float* output) {
    TermRange range;
    range.begin = begin;
    do {
      range.end = std::min(range.begin + kBlockTerms, end);
      range.first = range.begin == begin;
      range.last = range.end == end;
      SumBlock(terms, range, scale, dim, output);
      range.begin = range.end;
    } while (range.begin < end);
  }

 private:
  template <class Terms>
  static HWY_INLINE void SumBlock(const Terms& terms, const TermRange& range,
                                  const float* scale, size_t dim,
                                  float* output) {
    const size_t lanes = hn::Lanes(FloatTag());
    for (int64_t j = range.begin; j < range.end; ++j) terms.Prefetch(j);
    size_t k = 0;
    for (; k + 8 * lanes <= dim; k += 8 * lanes) {
      SumColumns<false>(terms, range, scale, k, output,
                        std::make_index_sequence<8>());
    }
    if (k + 4 * lanes <= dim) {
      SumColumns<false>(terms, range, scale, k, output,
                        std::make_index_sequence<4>());
      k += 4 * lanes;
    }
    if (k + 2 * lanes <= dim) {
      SumColumns<false>(terms, range, scale, k, output,
                        std::make_index_sequence<2>());
      k += 2 * lanes;
    }
    if (k + lanes <= dim) {
      SumColumns<false>(terms, range, scale, k, output,
                        std::make_index_sequence<1>());
      k += lanes;
    }
    if (k < dim) SumTailColumns(terms, range, scale, k, dim - k, output);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
