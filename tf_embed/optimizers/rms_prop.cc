#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/optimizers/rms_prop.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/optimizers/row_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

// ms = rho * ms + (1 - rho) * g^2
// mom = momentum * mom + lr * g / sqrt(ms + epsilon)
// w -= mom
struct RmsProp {
  static constexpr int kSlots = 2;
  RmsPropParams params;
  StepScalars scalars;

  template <class D, class V>
  HWY_INLINE void operator()(D d, V g, V& w, V& ms, V& mom) const {
    ms = hn::MulAdd(hn::Set(d, params.rho), ms,
                    hn::Mul(hn::Set(d, 1.0f - params.rho), hn::Mul(g, g)));
    const V step = hn::Div(hn::Mul(hn::Set(d, scalars.learning_rate), g),
                           hn::Sqrt(hn::Add(ms, hn::Set(d, params.epsilon))));
    mom = hn::MulAdd(hn::Set(d, params.momentum), mom, step);
    w = hn::Sub(w, mom);
  }
};
TF_EMBED_ROW_FUNCTION(RmsPropRow, RmsProp, RmsPropParams)

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {

HWY_EXPORT(RmsPropRow);

OptimizerOr MakeOptimizer(const OptimizerConfig& config,
                          const RmsPropParams& params) {
  static constexpr SlotSpec kSlots[] = {{"ms", 0.0f}, {"mom", 0.0f}};
  const Algorithm algorithm{"RMSProp", kSlots};
  return MakeFormulaOptimizer(algorithm, config, params,
                              HWY_DYNAMIC_POINTER(RmsPropRow));
}

}  // namespace tf_embed
#endif  // HWY_ONCE
