#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/optimizers/proximal_yogi.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/optimizers/row_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

// m = beta1 * m + (1 - beta1) * g
// v += (1 - beta2) * sign(g^2 - v) * g^2
// eta = lr / (sqrt(v) + epsilon)
// p = w - eta * m
// w = (l1 > 0 ? sign(p) * max(|p| - eta * l1, 0) : p) / (1 + eta * l2)
struct ProximalYogi {
  static constexpr int kSlots = 2;
  ProximalYogiParams params;
  StepScalars scalars;

  template <class D, class V>
  HWY_INLINE void operator()(D d, V g, V& w, V& v, V& m) const {
    const V g2 = hn::Mul(g, g);
    m = hn::MulAdd(hn::Set(d, params.beta1), m,
                   hn::Mul(hn::Set(d, 1.0f - params.beta1), g));
    const V change = hn::Mul(hn::Set(d, 1.0f - params.beta2), g2);
    v = hn::MulAdd(Sign(d, hn::Sub(g2, v)), change, v);
    const V eta = hn::Div(hn::Set(d, scalars.learning_rate),
                          hn::Add(hn::Sqrt(v), hn::Set(d, params.epsilon)));
    V p = hn::NegMulAdd(eta, m, w);
    if (params.l1 > 0) p = Shrink(d, p, hn::Mul(eta, hn::Set(d, params.l1)));
    w = hn::Div(p, hn::MulAdd(eta, hn::Set(d, params.l2), hn::Set(d, 1.0f)));
  }
};
TF_EMBED_ROW_FUNCTION(ProximalYogiRow, ProximalYogi, ProximalYogiParams)

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {

HWY_EXPORT(ProximalYogiRow);

OptimizerOr MakeOptimizer(const OptimizerConfig& config,
                          const ProximalYogiParams& params) {
  static constexpr SlotSpec kSlots[] = {{"v", 1e-6f}, {"m", 0.0f}};
  const Algorithm algorithm{"ProximalYogi", kSlots};
  return MakeFormulaOptimizer(algorithm, config, params,
                              HWY_DYNAMIC_POINTER(ProximalYogiRow));
}

}  // namespace tf_embed
#endif  // HWY_ONCE
