#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/optimizers/adagrad.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/optimizers/row_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

// a += g^2
// w -= lr * g / sqrt(a)
//
// Where a is still 0, g is 0 too, and w stays.
struct Adagrad {
  static constexpr int kSlots = 1;
  AdagradParams params;
  StepScalars scalars;

  template <class D, class V>
  HWY_INLINE void operator()(D d, V g, V& w, V& a) const {
    a = hn::MulAdd(g, g, a);
    const V lr = hn::Set(d, scalars.learning_rate);
    const V step = hn::Div(hn::Mul(lr, g), hn::Sqrt(a));
    w = hn::Sub(w, hn::IfThenZeroElse(IsZero(d, a), step));
  }
};
TF_EMBED_ROW_FUNCTION(AdagradRow, Adagrad, AdagradParams)

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {

HWY_EXPORT(AdagradRow);

OptimizerOr MakeOptimizer(const OptimizerConfig& config,
                          const AdagradParams& params) {
  static constexpr SlotSpec kSlots[] = {{"accumulators", 0.1f}};
  const Algorithm algorithm{"Adagrad", kSlots};
  return MakeFormulaOptimizer(algorithm, config, params,
                              HWY_DYNAMIC_POINTER(AdagradRow));
}

}  // namespace tf_embed
#endif  // HWY_ONCE
