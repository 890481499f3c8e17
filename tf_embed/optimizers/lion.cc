#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/optimizers/lion.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/optimizers/row_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

// w -= lr * sign(beta1 * m + (1 - beta1) * g)
// m = beta2 * m + (1 - beta2) * g
struct Lion {
  static constexpr int kSlots = 1;
  LionParams params;
  StepScalars scalars;

  template <class D, class V>
  HWY_INLINE void operator()(D d, V g, V& w, V& m) const {
    const V c = hn::MulAdd(hn::Set(d, params.beta1), m,
                           hn::Mul(hn::Set(d, 1.0f - params.beta1), g));
    w = hn::NegMulAdd(hn::Set(d, scalars.learning_rate), Sign(d, c), w);
    m = hn::MulAdd(hn::Set(d, params.beta2), m,
                   hn::Mul(hn::Set(d, 1.0f - params.beta2), g));
  }
};
TF_EMBED_ROW_FUNCTION(LionRow, Lion, LionParams)

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {

HWY_EXPORT(LionRow);

OptimizerOr MakeOptimizer(const OptimizerConfig& config,
                          const LionParams& params) {
  static constexpr SlotSpec kSlots[] = {{"momenta", 0.0f}};
  const Algorithm algorithm{"Lion", kSlots, params.use_non_lazy_lion};
  return MakeFormulaOptimizer(algorithm, config, params,
                              HWY_DYNAMIC_POINTER(LionRow));
}

}  // namespace tf_embed
#endif  // HWY_ONCE
