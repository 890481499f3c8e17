#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/optimizers/adam.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/optimizers/row_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

// m = beta1 * m + (1 - beta1) * g
// v = beta2 * v + (1 - beta2) * g^2
// w -= lr * m / sqrt(v + epsilon^2)      if use_sum_inside_sqrt
// w -= lr * m / (sqrt(v) + epsilon)      otherwise
//
// There is no bias correction: callers fold it into the learning rate.
struct Adam {
  static constexpr int kSlots = 2;
  AdamParams params;
  StepScalars scalars;

  template <class D, class V>
  HWY_INLINE void operator()(D d, V g, V& w, V& m, V& v) const {
    m = hn::MulAdd(hn::Set(d, params.beta1), m,
                   hn::Mul(hn::Set(d, 1.0f - params.beta1), g));
    v = hn::MulAdd(hn::Set(d, params.beta2), v,
                   hn::Mul(hn::Set(d, 1.0f - params.beta2), hn::Mul(g, g)));
    const V denominator =
        params.use_sum_inside_sqrt
            ? hn::Sqrt(hn::Add(v, hn::Set(d, params.epsilon * params.epsilon)))
            : hn::Add(hn::Sqrt(v), hn::Set(d, params.epsilon));
    const V lr = hn::Set(d, scalars.learning_rate);
    w = hn::Sub(w, hn::Div(hn::Mul(lr, m), denominator));
  }
};
TF_EMBED_ROW_FUNCTION(AdamRow, Adam, AdamParams)

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {

HWY_EXPORT(AdamRow);

OptimizerOr MakeOptimizer(const OptimizerConfig& config,
                          const AdamParams& params) {
  static constexpr SlotSpec kSlots[] = {{"momenta", 0.0f},
                                        {"velocities", 0.0f}};
  const Algorithm algorithm{"ADAM", kSlots, params.use_non_lazy_adam};
  return MakeFormulaOptimizer(algorithm, config, params,
                              HWY_DYNAMIC_POINTER(AdamRow));
}

}  // namespace tf_embed
#endif  // HWY_ONCE
