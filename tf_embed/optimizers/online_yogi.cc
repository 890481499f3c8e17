#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/optimizers/online_yogi.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/optimizers/row_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

// v1 = v - (1 - beta2) * sign(v - g^2) * g^2
// L += g - (sqrt(v1) - sqrt(v)) / lr * w
// q = sqrt(v1) / lr + 2 * l2
// w = (clip(L, +-l1) - L) / q
// v = v1
//
// w is 0 where q is. No formula is published beyond "Yogi with the
// regularization of FTRL"; this is that.
struct OnlineYogi {
  static constexpr int kSlots = 2;
  OnlineYogiParams params;
  StepScalars scalars;

  template <class D, class V>
  HWY_INLINE void operator()(D d, V g, V& w, V& v, V& linear) const {
    const float rate = 1.0f / scalars.learning_rate;
    const V g2 = hn::Mul(g, g);
    const V change = hn::Mul(hn::Set(d, 1.0f - params.beta2), g2);
    const V v1 = hn::NegMulAdd(Sign(d, hn::Sub(v, g2)), change, v);
    const V root = hn::Sqrt(v1);
    const V sigma = hn::Mul(hn::Sub(root, hn::Sqrt(v)), hn::Set(d, rate));
    linear = hn::Add(linear, hn::NegMulAdd(sigma, w, g));
    const V q =
        hn::MulAdd(root, hn::Set(d, rate), hn::Set(d, 2.0f * params.l2));
    const V w1 =
        hn::Div(hn::Sub(Clip(d, linear, -params.l1, params.l1), linear), q);
    w = hn::IfThenZeroElse(IsZero(d, q), w1);
    v = v1;
  }
};
TF_EMBED_ROW_FUNCTION(OnlineYogiRow, OnlineYogi, OnlineYogiParams)

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {

HWY_EXPORT(OnlineYogiRow);

OptimizerOr MakeOptimizer(const OptimizerConfig& config,
                          const OnlineYogiParams& params) {
  static constexpr SlotSpec kSlots[] = {{"vs", 0.1f}, {"linears", 0.0f}};
  Algorithm algorithm{"OnlineYogi", kSlots};
  algorithm.divides_by_learning_rate = true;
  return MakeFormulaOptimizer(algorithm, config, params,
                              HWY_DYNAMIC_POINTER(OnlineYogiRow));
}

}  // namespace tf_embed
#endif  // HWY_ONCE
