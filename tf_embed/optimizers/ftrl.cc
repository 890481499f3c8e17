#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/optimizers/ftrl.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/optimizers/row_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

// With p(x) = x^(-lr_power) and a1 = a + g^2,
//
// standard                               multiply_linear_by_lr
// L += g - (p(a1) - p(a)) / lr * w       L += lr * g - (p(a1) - p(a)) * w
// q  = (p(a1) + beta) / lr + 2 * l2      q  = p(a1) + beta + 2 * lr * l2
// w  = (clip(L, +-l1) - L) / q           w  = (clip(L, +-lr * l1) - L) / q
// a  = a1
//
// w is 0 where q is. One formula serves both: in the standard one, p is divided
// by lr; in the other, everything else is multiplied by it.
struct Ftrl {
  static constexpr int kSlots = 2;
  FtrlParams params;
  StepScalars scalars;

  template <class D, class V>
  HWY_INLINE void operator()(D d, V g, V& w, V& a, V& linear) const {
    const float lr = scalars.learning_rate;
    const float rate_of_p = params.multiply_linear_by_lr ? 1.0f : 1.0f / lr;
    const float rate = params.multiply_linear_by_lr ? lr : 1.0f;
    const V a1 = hn::MulAdd(g, g, a);
    const V p = Pow(d, a, -params.lr_power);
    const V p1 = Pow(d, a1, -params.lr_power);
    const V sigma = hn::Mul(hn::Sub(p1, p), hn::Set(d, rate_of_p));
    linear =
        hn::Add(linear, hn::NegMulAdd(sigma, w, hn::Mul(hn::Set(d, rate), g)));
    const V q =
        hn::MulAdd(hn::Add(p1, hn::Set(d, params.beta)), hn::Set(d, rate_of_p),
                   hn::Set(d, 2.0f * rate * params.l2));
    const float l1 = rate * params.l1;
    const V w1 = hn::Div(hn::Sub(Clip(d, linear, -l1, l1), linear), q);
    w = hn::IfThenZeroElse(IsZero(d, q), w1);
    a = a1;
  }
};
TF_EMBED_ROW_FUNCTION(FtrlRow, Ftrl, FtrlParams)

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {

HWY_EXPORT(FtrlRow);

OptimizerOr MakeOptimizer(const OptimizerConfig& config,
                          const FtrlParams& params) {
  if (!(params.lr_power <= 0)) {
    return InvalidArgument("FTRL has lr_power ", params.lr_power,
                           "; it must not be greater than 0");
  }
  static constexpr SlotSpec kSlots[] = {{"accumulators", 0.1f},
                                        {"linears", 0.0f}};
  Algorithm algorithm{"FTRL", kSlots};
  algorithm.divides_by_learning_rate = !params.multiply_linear_by_lr;
  return MakeFormulaOptimizer(algorithm, config, params,
                              HWY_DYNAMIC_POINTER(FtrlRow));
}

}  // namespace tf_embed
#endif  // HWY_ONCE
