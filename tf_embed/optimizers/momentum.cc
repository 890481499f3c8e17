#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/optimizers/momentum.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/optimizers/row_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

// m = momentum * m + g
// w -= use_nesterov ? lr * g + lr * momentum * m : lr * m
struct Momentum {
  static constexpr int kSlots = 1;
  MomentumParams params;
  StepScalars scalars;

  template <class D, class V>
  HWY_INLINE void operator()(D d, V g, V& w, V& m) const {
    const V momentum = hn::Set(d, params.momentum);
    m = hn::MulAdd(momentum, m, g);
    const V u = params.use_nesterov ? hn::MulAdd(momentum, m, g) : m;
    w = hn::NegMulAdd(hn::Set(d, scalars.learning_rate), u, w);
  }
};
TF_EMBED_ROW_FUNCTION(MomentumRow, Momentum, MomentumParams)

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {

HWY_EXPORT(MomentumRow);

OptimizerOr MakeOptimizer(const OptimizerConfig& config,
                          const MomentumParams& params) {
  static constexpr SlotSpec kSlots[] = {{"momenta", 0.0f}};
  const Algorithm algorithm{"Momentum", kSlots};
  return MakeFormulaOptimizer(algorithm, config, params,
                              HWY_DYNAMIC_POINTER(MomentumRow));
}

}  // namespace tf_embed
#endif  // HWY_ONCE
