#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/optimizers/frequency_estimator.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/optimizers/row_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

// The weights estimate the number of steps between hits of the row; the number
// of the step arrives as the learning rate, and the gradient is ignored.
//
// delta = step - last_hit_step
// capped = min(delta, max_delta)
// w = delta >= outlier_threshold * w ? capped : w * (1 - tau) + capped * tau
// last_hit_step = step
struct FrequencyEstimator {
  static constexpr int kSlots = 1;
  FrequencyEstimatorParams params;
  StepScalars scalars;

  template <class D, class V>
  HWY_INLINE void operator()(D d, V g, V& w, V& last) const {
    (void)g;
    const V step = hn::Set(d, scalars.learning_rate);
    const V delta = hn::Sub(step, last);
    const V capped = Clip(d, delta, -HUGE_VALF, params.max_delta);
    const V mixed = hn::MulAdd(w, hn::Set(d, 1.0f - params.tau),
                               hn::Mul(capped, hn::Set(d, params.tau)));
    const hn::Mask<D> outlier =
        hn::Ge(delta, hn::Mul(hn::Set(d, params.outlier_threshold), w));
    w = hn::IfThenElse(outlier, capped, mixed);
    last = step;
  }
};
TF_EMBED_ROW_FUNCTION(FrequencyEstimatorRow, FrequencyEstimator,
                      FrequencyEstimatorParams)

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {

HWY_EXPORT(FrequencyEstimatorRow);

OptimizerOr MakeOptimizer(const OptimizerConfig& config,
                          const FrequencyEstimatorParams& params) {
  static constexpr SlotSpec kSlots[] = {{"last_hit_step", 0.0f}};
  const Algorithm algorithm{"FrequencyEstimator", kSlots};
  return MakeFormulaOptimizer(algorithm, config, params,
                              HWY_DYNAMIC_POINTER(FrequencyEstimatorRow));
}

}  // namespace tf_embed
#endif  // HWY_ONCE
