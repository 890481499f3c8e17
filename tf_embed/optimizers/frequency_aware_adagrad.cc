#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/optimizers/frequency_aware_adagrad.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/optimizers/row_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

// c += 1
// a = max(accumulator_decay * a + g^2, initial_accumulator_value)
// multiplier = min((max(step, 1) / c)^probability_exponent, max_lr_multiplier)
// w -= lr * (multiplier * g / sqrt(a) + l1 * sign(w) + l2 * w)
//
// A max_lr_multiplier of 0 means no cap, an accumulator_decay of 0 (the proto's
// default) none. The published comment has typing errors; this is its sense.
// Where g / sqrt(a) is 0 / 0 it counts as 0.
struct FrequencyAwareAdagrad {
  static constexpr int kSlots = 2;
  FrequencyAwareAdagradParams params;
  StepScalars scalars;

  template <class D, class V>
  HWY_INLINE void operator()(D d, V g, V& w, V& a, V& c) const {
    c = hn::Add(c, hn::Set(d, 1.0f));
    const float decay =
        params.accumulator_decay == 0 ? 1.0f : params.accumulator_decay;
    a = hn::MulAdd(hn::Set(d, decay), a, hn::Mul(g, g));
    a = Clip(d, a, params.initial_accumulator_value, HUGE_VALF);
    const float step = scalars.step_counter > 1 ? scalars.step_counter : 1.0f;
    V multiplier =
        Pow(d, hn::Div(hn::Set(d, step), c), params.probability_exponent);
    if (params.max_lr_multiplier > 0) {
      multiplier = Clip(d, multiplier, -HUGE_VALF, params.max_lr_multiplier);
    }
    V u = hn::Div(hn::Mul(multiplier, g), hn::Sqrt(a));
    u = hn::IfThenZeroElse(hn::And(IsZero(d, g), IsZero(d, a)), u);
    if (params.l1 != 0) u = hn::MulAdd(hn::Set(d, params.l1), Sign(d, w), u);
    if (params.l2 != 0) u = hn::MulAdd(hn::Set(d, params.l2), w, u);
    w = hn::NegMulAdd(hn::Set(d, scalars.learning_rate), u, w);
  }
};
TF_EMBED_ROW_FUNCTION(FrequencyAwareAdagradRow, FrequencyAwareAdagrad,
                      FrequencyAwareAdagradParams)

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {

HWY_EXPORT(FrequencyAwareAdagradRow);

OptimizerOr MakeOptimizer(const OptimizerConfig& config,
                          const FrequencyAwareAdagradParams& params) {
  static constexpr SlotSpec kSlots[] = {{"accumulators", 0.1f},
                                        {"counters", 0.0f}};
  const Algorithm algorithm{"FrequencyAwareAdagrad", kSlots};
  return MakeFormulaOptimizer(algorithm, config, params,
                              HWY_DYNAMIC_POINTER(FrequencyAwareAdagradRow));
}

}  // namespace tf_embed
#endif  // HWY_ONCE
