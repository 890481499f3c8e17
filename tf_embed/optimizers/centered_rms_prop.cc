#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/optimizers/centered_rms_prop.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/optimizers/row_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

// ms = rho * ms + (1 - rho) * g^2
// mg = rho * mg + (1 - rho) * g
// mom = momentum * mom + lr * g / sqrt(ms - mg^2 + epsilon)
// w -= mom
struct CenteredRmsProp {
  static constexpr int kSlots = 3;
  CenteredRmsPropParams params;
  StepScalars scalars;

  template <class D, class V>
  HWY_INLINE void operator()(D d, V g, V& w, V& ms, V& mom, V& mg) const {
    const V rho = hn::Set(d, params.rho);
    const V rest = hn::Set(d, 1.0f - params.rho);
    ms = hn::MulAdd(rho, ms, hn::Mul(rest, hn::Mul(g, g)));
    mg = hn::MulAdd(rho, mg, hn::Mul(rest, g));
    const V variance = hn::NegMulAdd(mg, mg, ms);
    const V step =
        hn::Div(hn::Mul(hn::Set(d, scalars.learning_rate), g),
                hn::Sqrt(hn::Add(variance, hn::Set(d, params.epsilon))));
    mom = hn::MulAdd(hn::Set(d, params.momentum), mom, step);
    w = hn::Sub(w, mom);
  }
};
TF_EMBED_ROW_FUNCTION(CenteredRmsPropRow, CenteredRmsProp,
                      CenteredRmsPropParams)

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {

HWY_EXPORT(CenteredRmsPropRow);

OptimizerOr MakeOptimizer(const OptimizerConfig& config,
                          const CenteredRmsPropParams& params) {
  static constexpr SlotSpec kSlots[] = {
      {"ms", 0.0f}, {"mom", 0.0f}, {"mg", 0.0f}};
  const Algorithm algorithm{"CenteredRMSProp", kSlots};
  return MakeFormulaOptimizer(algorithm, config, params,
                              HWY_DYNAMIC_POINTER(CenteredRmsPropRow));
}

}  // namespace tf_embed
#endif  // HWY_ONCE
