#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/optimizers/adagrad_momentum.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/optimizers/row_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

// a = beta2 == 1 ? a + g^2 : beta2 * a + (1 - beta2) * g^2
// s = (a + epsilon)^(-1 / exponent) * g
// m = momentum * m + s
// w -= lr * (use_nesterov ? momentum * m + s : m)
//
// (The comment in TensorFlow's proto leaves g out of s; its tests and kernels
// do not.)
struct AdagradMomentum {
  static constexpr int kSlots = 2;
  AdagradMomentumParams params;
  StepScalars scalars;

  template <class D, class V>
  HWY_INLINE void operator()(D d, V g, V& w, V& a, V& m) const {
    const V g2 = hn::Mul(g, g);
    a = params.beta2 == 1.0f
            ? hn::Add(a, g2)
            : hn::MulAdd(hn::Set(d, params.beta2), a,
                         hn::Mul(hn::Set(d, 1.0f - params.beta2), g2));
    const V base = hn::Add(a, hn::Set(d, params.epsilon));
    const V s = params.exponent == 2.0f
                    ? hn::Div(g, hn::Sqrt(base))
                    : hn::Mul(Pow(d, base, -1.0f / params.exponent), g);
    const V momentum = hn::Set(d, params.momentum);
    m = hn::MulAdd(momentum, m, s);
    const V u = params.use_nesterov ? hn::MulAdd(momentum, m, s) : m;
    w = hn::NegMulAdd(hn::Set(d, scalars.learning_rate), u, w);
  }
};
TF_EMBED_ROW_FUNCTION(AdagradMomentumRow, AdagradMomentum,
                      AdagradMomentumParams)

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {

HWY_EXPORT(AdagradMomentumRow);

OptimizerOr MakeOptimizer(const OptimizerConfig& config,
                          const AdagradMomentumParams& params) {
  if (!(params.exponent > 0)) {
    return InvalidArgument("AdagradMomentum has exponent ", params.exponent,
                           "; it must be greater than 0");
  }
  static constexpr SlotSpec kSlots[] = {{"accumulators", 0.0f},
                                        {"momenta", 0.0f}};
  const Algorithm algorithm{"AdagradMomentum", kSlots};
  return MakeFormulaOptimizer(algorithm, config, params,
                              HWY_DYNAMIC_POINTER(AdagradMomentumRow));
}

}  // namespace tf_embed
#endif  // HWY_ONCE
