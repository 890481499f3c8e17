#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/optimizers/proximal_adagrad.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/optimizers/row_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

// a += g^2
// t = lr / sqrt(a)
// p = w - t * g
// w = sign(p) * max(|p| - t * l1, 0) / (1 + t * l2)
//
// Where a is still 0, w stays, as with Adagrad.
struct ProximalAdagrad {
  static constexpr int kSlots = 1;
  ProximalAdagradParams params;
  StepScalars scalars;

  template <class D, class V>
  HWY_INLINE void operator()(D d, V g, V& w, V& a) const {
    a = hn::MulAdd(g, g, a);
    const V t = hn::Div(hn::Set(d, scalars.learning_rate), hn::Sqrt(a));
    const V p = hn::NegMulAdd(t, g, w);
    const V shrunk = Shrink(d, p, hn::Mul(t, hn::Set(d, params.l1)));
    const V w1 =
        hn::Div(shrunk, hn::MulAdd(t, hn::Set(d, params.l2), hn::Set(d, 1.0f)));
    w = hn::IfThenElse(IsZero(d, a), w, w1);
  }
};
TF_EMBED_ROW_FUNCTION(ProximalAdagradRow, ProximalAdagrad,
                      ProximalAdagradParams)

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {

HWY_EXPORT(ProximalAdagradRow);

OptimizerOr MakeOptimizer(const OptimizerConfig& config,
                          const ProximalAdagradParams& params) {
  static constexpr SlotSpec kSlots[] = {{"accumulators", 0.1f}};
  const Algorithm algorithm{"ProximalAdagrad", kSlots};
  return MakeFormulaOptimizer(algorithm, config, params,
                              HWY_DYNAMIC_POINTER(ProximalAdagradRow));
}

}  // namespace tf_embed
#endif  // HWY_ONCE
