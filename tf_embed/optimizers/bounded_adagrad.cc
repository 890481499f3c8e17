#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/optimizers/bounded_adagrad.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/optimizers/row_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

// a1 = min(a + g^2, max_accumulator)
// u = clip(lr * g / sqrt(update_accumulator_first ? a1 : a), +-max_var_update)
// w -= u;  a = a1
//
// A maximum of 0 means none. No formula is published; this follows the comments
// on the fields of the proto. Where it would be 0 / 0, w stays.
struct BoundedAdagrad {
  static constexpr int kSlots = 1;
  BoundedAdagradParams params;
  StepScalars scalars;

  template <class D, class V>
  HWY_INLINE void operator()(D d, V g, V& w, V& a) const {
    V a1 = hn::MulAdd(g, g, a);
    if (params.max_accumulator > 0) {
      a1 = Clip(d, a1, -HUGE_VALF, params.max_accumulator);
    }
    const V denominator = params.update_accumulator_first ? a1 : a;
    const V lr = hn::Set(d, scalars.learning_rate);
    V u = hn::Div(hn::Mul(lr, g), hn::Sqrt(denominator));
    u = hn::IfThenZeroElse(hn::And(IsZero(d, g), IsZero(d, denominator)), u);
    if (params.max_var_update > 0) {
      u = Clip(d, u, -params.max_var_update, params.max_var_update);
    }
    w = hn::Sub(w, u);
    a = a1;
  }
};
TF_EMBED_ROW_FUNCTION(BoundedAdagradRow, BoundedAdagrad, BoundedAdagradParams)

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {

HWY_EXPORT(BoundedAdagradRow);

OptimizerOr MakeOptimizer(const OptimizerConfig& config,
                          const BoundedAdagradParams& params) {
  static constexpr SlotSpec kSlots[] = {{"accumulators", 0.1f}};
  const Algorithm algorithm{"BoundedAdagrad", kSlots};
  return MakeFormulaOptimizer(algorithm, config, params,
                              HWY_DYNAMIC_POINTER(BoundedAdagradRow));
}

}  // namespace tf_embed
#endif  // HWY_ONCE
