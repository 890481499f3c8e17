// Row formats: how a kernel reads the rows of a table as vectors of floats.
//
// A format has
//   Row(id)              where a row begins
//   row_bytes()          what a row occupies
//   Load(d, row, k)      columns [k, k + Lanes(d)) as floats
//   LoadN(d, row, k, n)  columns [k, k + n), n < Lanes(d); the rest undefined
//   kAffine              if true, a column is Scale(row) * Load(...) +
//   Bias(row)

// Per-target include guard.
#if defined(TF_EMBED_TF_EMBED_LOOKUP_TABLE_ROWS_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef TF_EMBED_TF_EMBED_LOOKUP_TABLE_ROWS_INL_H_
#undef TF_EMBED_TF_EMBED_LOOKUP_TABLE_ROWS_INL_H_
#else
#define TF_EMBED_TF_EMBED_LOOKUP_TABLE_ROWS_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "tf_embed/optimizers/optimizer_config.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// kDim is the width where the compiler may know it, or 0. Known, the loop over
// the lines of a row to prefetch unrolls: measured 1.35x on W2 with uniform
// ids and 1.26x with Zipf ids (Zen 5, dim 64).
template <int64_t kDim = 0>
class FloatRows {
 public:
  static constexpr bool kAffine = false;

  FloatRows(const void* table, int64_t dim)
      : table_(static_cast<const float*>(table)), dim_(dim) {}

  HWY_INLINE size_t row_bytes() const { return dim() * sizeof(float); }
  HWY_INLINE const float* Row(int64_t id) const { return table_ + id * dim(); }

  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, const float* row, size_t k) const {
    return hn::LoadU(d, row + k);
  }
  template <class D>
  HWY_INLINE hn::Vec<D> LoadN(D d, const float* row, size_t k, size_t n) const {
    return hn::LoadN(d, row + k, n);
  }

 private:
  HWY_INLINE int64_t dim() const { return kDim > 0 ? kDim : dim_; }

  const float* table_;
  int64_t dim_;
};

// Floats as a table of few distinct values would give them:
//   floor((clip(x, lower, upper) - lower) / quantum + 0.5) * quantum + lower
class SimulatedQuantizationRows {
 public:
  static constexpr bool kAffine = false;

  SimulatedQuantizationRows(const void* table, int64_t dim,
                            const SimulatedQuantization& quantization)
      : rows_(table, dim),
        lower_(*quantization.lower),
        upper_(*quantization.upper),
        quantum_((upper_ - lower_) / (quantization.num_buckets - 1)) {}

  HWY_INLINE size_t row_bytes() const { return rows_.row_bytes(); }
  HWY_INLINE const float* Row(int64_t id) const { return rows_.Row(id); }

  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, const float* row, size_t k) const {
    return Quantize(d, rows_.Load(d, row, k));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> LoadN(D d, const float* row, size_t k, size_t n) const {
    return Quantize(d, rows_.LoadN(d, row, k, n));
  }

 private:
  template <class D>
  HWY_INLINE hn::Vec<D> Quantize(D d, hn::Vec<D> x) const {
    const auto lower = hn::Set(d, lower_);
    const auto upper = hn::Set(d, upper_);
    const auto quantum = hn::Set(d, quantum_);
    // Comparisons, not Min and Max: NaN stays NaN on every target.
    x = hn::IfThenElse(hn::Lt(x, lower), lower, x);
    x = hn::IfThenElse(hn::Gt(x, upper), upper, x);
    const auto bucket = hn::Floor(
        hn::Add(hn::Div(hn::Sub(x, lower), quantum), hn::Set(d, 0.5f)));
    return hn::Add(hn::Mul(bucket, quantum), lower);
  }

  FloatRows<> rows_;
  float lower_, upper_, quantum_;
};

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
