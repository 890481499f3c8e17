// The part that all optimizers share: how a formula is applied to a row.
//
// A formula is a struct built from {parameters, scalars of the step} with
//
//   static constexpr int kSlots = ...;
//   template <class D, class V>
//   void operator()(D d, V g, V& w, V& slot0, V& slot1, ...) const;
//
// which takes one vector of gradients and updates those of weights and slots.

// Per-target include guard.
#if defined(TF_EMBED_TF_EMBED_OPTIMIZERS_ROW_UPDATE_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef TF_EMBED_TF_EMBED_OPTIMIZERS_ROW_UPDATE_INL_H_
#undef TF_EMBED_TF_EMBED_OPTIMIZERS_ROW_UPDATE_INL_H_
#else
#define TF_EMBED_TF_EMBED_OPTIMIZERS_ROW_UPDATE_INL_H_
#endif

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "hwy/highway.h"
#include "tf_embed/base/prefetch.h"
#include "tf_embed/optimizers/formula_optimizer.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// min(max(x, lower), upper); NaN stays NaN on every target.
template <class D, class V>
HWY_INLINE V Clip(D d, V x, float lower, float upper) {
  const V lo = hn::Set(d, lower);
  const V hi = hn::Set(d, upper);
  const V raised = hn::IfThenElse(hn::Lt(x, lo), lo, x);
  return hn::IfThenElse(hn::Gt(raised, hi), hi, raised);
}

// -1, 0 or 1; NaN stays NaN.
template <class D, class V>
HWY_INLINE V Sign(D d, V x) {
  const V zero = hn::Zero(d);
  const V not_above = hn::IfThenElse(hn::Lt(x, zero), hn::Set(d, -1.0f), x);
  return hn::IfThenElse(hn::Gt(x, zero), hn::Set(d, 1.0f), not_above);
}

template <class D, class V>
HWY_INLINE hn::Mask<D> IsZero(D d, V x) {
  return hn::Eq(x, hn::Zero(d));
}

// sign(x) * max(|x| - threshold, 0).
template <class D, class V>
HWY_INLINE V Shrink(D d, V x, V threshold) {
  const V left = hn::Sub(hn::Abs(x), threshold);
  const V positive =
      hn::IfThenElse(hn::Lt(left, hn::Zero(d)), hn::Zero(d), left);
  return hn::Mul(Sign(d, x), positive);
}

// x ^ exponent. The exponents that everybody uses are square roots; others go
// through the C library, element by element.
template <class D, class V>
HWY_INLINE V Pow(D d, V x, float exponent) {
  if (exponent == 0.5f) return hn::Sqrt(x);
  if (exponent == -0.5f) return hn::Div(hn::Set(d, 1.0f), hn::Sqrt(x));
  if (exponent == 1.0f) return x;
  if (exponent == 0.0f) return hn::Set(d, 1.0f);
  HWY_ALIGN float lanes[hn::MaxLanes(d)];
  hn::Store(x, d, lanes);
  for (size_t i = 0; i < hn::Lanes(d); ++i) {
    lanes[i] = std::pow(lanes[i], exponent);
  }
  return hn::Load(d, lanes);
}

// The columns [k, k + n) of a row, n at most one vector.
template <bool kSurrounded, bool kFull, class D, class Formula, size_t... kSlot>
HWY_INLINE void UpdateColumns(D d, const Formula& formula,
                              const Surroundings& surroundings, float decay,
                              const float* gradient, hn::Vec<D> scale,
                              float* weights, float* const* slots, size_t k,
                              size_t n, std::index_sequence<kSlot...>) {
  using V = hn::Vec<D>;
  V g, w;
  V s[sizeof...(kSlot) + 1];  // C++ has no empty array
  if constexpr (kFull) {
    g = hn::LoadU(d, gradient + k);
    w = hn::LoadU(d, weights + k);
    ((s[kSlot] = hn::LoadU(d, slots[kSlot] + k)), ...);
  } else {
    g = hn::LoadN(d, gradient + k, n);
    w = hn::LoadN(d, weights + k, n);
    ((s[kSlot] = hn::LoadN(d, slots[kSlot] + k, n)), ...);
  }
  // As every sum of contributions, it begins with +0.
  g = hn::MulAdd(scale, g, hn::Zero(d));
  if constexpr (kSurrounded) {
    g = Clip(d, g, surroundings.gradient_limits.lower,
             surroundings.gradient_limits.upper);
    if (decay != 0) w = hn::NegMulAdd(hn::Set(d, decay), w, w);
  }
  formula(d, g, w, s[kSlot]...);
  if constexpr (kSurrounded) {
    w = Clip(d, w, surroundings.weight_limits.lower,
             surroundings.weight_limits.upper);
  }
  if constexpr (kFull) {
    hn::StoreU(w, d, weights + k);
    (hn::StoreU(s[kSlot], d, slots[kSlot] + k), ...);
  } else {
    hn::StoreN(w, d, weights + k, n);
    (hn::StoreN(s[kSlot], d, slots[kSlot] + k, n), ...);
  }
}

template <class Level, size_t... kSlot>
HWY_INLINE void PrefetchVariables(float* weights, float* const* slots,
                                  int64_t row, int64_t dim,
                                  std::index_sequence<kSlot...>) {
  const int64_t offset = row * dim;
  PrefetchRow<Level>(weights + offset, dim * sizeof(float));
  (PrefetchRow<Level>(slots[kSlot] + offset, dim * sizeof(float)), ...);
}

template <bool kSurrounded, class Formula, size_t... kSlot>
HWY_INLINE void UpdateColumnsOfRows(const Formula& formula,
                                    const Surroundings& surroundings,
                                    float decay, const RowBlock& block,
                                    std::index_sequence<kSlot...> all_slots) {
  const hn::ScalableTag<float> d;
  const size_t dim = block.dim;
  // Copies: the stores below might otherwise change the pointers.
  const int64_t* const rows = block.rows;
  const float* const* const gradients = block.gradients;
  const float* const scales = block.scales;
  float* const all_weights = block.weights;
  float* const all[sizeof...(kSlot) + 1] = {block.slots[kSlot]..., nullptr};
  const int64_t* const far_rows = block.far_rows;
  const int64_t* const near_rows = block.near_rows;
  for (int64_t i = 0; i < block.num_rows; ++i) {
    if (far_rows != nullptr) {
      PrefetchVariables<ToLevel2>(all_weights, all, far_rows[i], dim,
                                  all_slots);
      PrefetchVariables<ToLevel1>(all_weights, all, near_rows[i], dim,
                                  all_slots);
    }
    const int64_t offset = rows[i] * static_cast<int64_t>(dim);
    const float* const gradient = gradients[i];
    const auto scale = hn::Set(d, scales[i]);
    float* const weights = all_weights + offset;
    float* const slots[sizeof...(kSlot) + 1] = {all[kSlot] + offset...,
                                                nullptr};
    size_t k = 0;
    for (; k + hn::Lanes(d) <= dim; k += hn::Lanes(d)) {
      UpdateColumns<kSurrounded, true>(d, formula, surroundings, decay,
                                       gradient, scale, weights, slots, k,
                                       hn::Lanes(d), all_slots);
    }
    if (k < dim) {
      UpdateColumns<kSurrounded, false>(d, formula, surroundings, decay,
                                        gradient, scale, weights, slots, k,
                                        dim - k, all_slots);
    }
  }
}

// A RowFunction.
template <class Formula, class Params>
HWY_INLINE void UpdateRows(const Params& params,
                           const Surroundings& surroundings,
                           const StepScalars& scalars, const RowBlock& block) {
  const Formula formula{params, scalars};
  const auto all_slots = std::make_index_sequence<Formula::kSlots>();
  if (HWY_LIKELY(!surroundings.any())) {
    UpdateColumnsOfRows<false>(formula, surroundings, 0.0f, block, all_slots);
    return;
  }
  const float decay =
      surroundings.decay_factor * (surroundings.multiply_decay_by_learning_rate
                                       ? scalars.learning_rate
                                       : 1.0f);
  UpdateColumnsOfRows<true>(formula, surroundings, decay, block, all_slots);
}

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

// Defines, in an optimizer's file, the RowFunction `function` of `Formula` for
// the target being compiled.
#ifndef TF_EMBED_ROW_FUNCTION
#define TF_EMBED_ROW_FUNCTION(function, Formula, Params)                \
  void function(const Params& params, const Surroundings& surroundings, \
                const StepScalars& scalars, const RowBlock& block) {    \
    UpdateRows<Formula>(params, surroundings, scalars, block);          \
  }
#endif

#endif  // per-target include guard
