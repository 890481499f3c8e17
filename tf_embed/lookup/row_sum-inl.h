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
#include <type_traits>
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

template <class Terms>
using RowsOf = std::decay_t<decltype(std::declval<Terms>().rows())>;

// Whether what is loaded of a row is multiplied before it is added.
template <class Terms>
inline constexpr bool kScaledTerms = Terms::kWeighted || RowsOf<Terms>::kAffine;

// With what; a product that all columns share.
template <class Terms, class Row>
HWY_INLINE float Factor(const Terms& terms, int64_t j, const Row* row) {
  if constexpr (!RowsOf<Terms>::kAffine) {
    return terms.Weight(j);
  } else if constexpr (Terms::kWeighted) {
    return terms.Weight(j) * terms.rows().Scale(row);
  } else {
    return terms.rows().Scale(row);
  }
}

// The biases of rows that have them: the same for all columns, so they are
// added up once.
template <class Terms, bool kAffine = RowsOf<Terms>::kAffine>
class BiasSum {
 public:
  explicit HWY_INLINE BiasSum(FloatTag) {}
  template <class Row>
  HWY_INLINE void Add(FloatTag, const Terms&, int64_t, const Row*) {}
  HWY_INLINE hn::Vec<FloatTag> AddTo(hn::Vec<FloatTag> sum) const {
    return sum;
  }
};

template <class Terms>
class BiasSum<Terms, true> {
 public:
  explicit HWY_INLINE BiasSum(FloatTag d) : sum_(hn::Zero(d)) {}
  template <class Row>
  HWY_INLINE void Add(FloatTag d, const Terms& terms, int64_t j,
                      const Row* row) {
    const auto bias = hn::Set(d, terms.rows().Bias(row));
    if constexpr (Terms::kWeighted) {
      sum_ = hn::MulAdd(hn::Set(d, terms.Weight(j)), bias, sum_);
    } else {
      sum_ = hn::Add(sum_, bias);
    }
  }
  HWY_INLINE hn::Vec<FloatTag> AddTo(hn::Vec<FloatTag> sum) const {
    return hn::Add(sum, sum_);
  }

 private:
  hn::Vec<FloatTag> sum_;
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
  BiasSum<Terms> biases(d);
  if (!range.first) ((sum[kI] = hn::LoadU(d, out + kI * lanes)), ...);
  for (int64_t j = range.begin; j < range.end; ++j) {
    if constexpr (kPrefetch) terms.Prefetch(j);
    const auto* row = terms.Row(j);
    if constexpr (kScaledTerms<Terms>) {
      const V w = hn::Set(d, Factor(terms, j, row));
      ((sum[kI] =
            hn::MulAdd(w, terms.rows().Load(d, row, k + kI * lanes), sum[kI])),
       ...);
    } else {
      ((sum[kI] = hn::Add(sum[kI], terms.rows().Load(d, row, k + kI * lanes))),
       ...);
    }
    biases.Add(d, terms, j, row);
  }
  ((sum[kI] = biases.AddTo(sum[kI])), ...);
  if (scale != nullptr && range.last) {
    const V s = hn::Set(d, *scale);
    ((sum[kI] = hn::Mul(s, sum[kI])), ...);
  }
  (hn::StoreU(sum[kI], d, out + kI * lanes), ...);
}

// The last n columns, n less than a vector.
template <bool kPrefetch, class Terms>
HWY_INLINE void SumTailColumns(const Terms& terms, const TermRange& range,
                               const float* scale, size_t k, size_t n,
                               float* output) {
  const FloatTag d;
  using V = hn::Vec<FloatTag>;
  V sum = range.first ? hn::Zero(d) : hn::LoadN(d, output + k, n);
  BiasSum<Terms> biases(d);
  for (int64_t j = range.begin; j < range.end; ++j) {
    if constexpr (kPrefetch) terms.Prefetch(j);
    const auto* row = terms.Row(j);
    const V x = terms.rows().LoadN(d, row, k, n);
    if constexpr (kScaledTerms<Terms>) {
      sum = hn::MulAdd(hn::Set(d, Factor(terms, j, row)), x, sum);
    } else {
      sum = hn::Add(sum, x);
    }
    biases.Add(d, terms, j, row);
  }
  sum = biases.AddTo(sum);
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

// Rows of less than a vector: without the blocks of AnyWidth.
struct LessThanAVector {
  template <class Terms>
  static HWY_INLINE void Sum(const Terms& terms, int64_t begin, int64_t end,
                             const float* scale, size_t dim, float* output) {
    SumTailColumns<true>(terms, TermRange{begin, end}, scale, 0, dim, output);
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
    if (k < dim) SumTailColumns<false>(terms, range, scale, k, dim - k, output);
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
