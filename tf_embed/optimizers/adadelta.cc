#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/optimizers/adadelta.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/optimizers/row_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

// a = rho * a + (1 - rho) * g^2
// u = sqrt(updates + epsilon) / sqrt(a + epsilon) * g
// w -= lr * u
// updates = rho * updates + (1 - rho) * u^2
struct Adadelta {
  static constexpr int kSlots = 2;
  AdadeltaParams params;
  StepScalars scalars;

  template <class D, class V>
  HWY_INLINE void operator()(D d, V g, V& w, V& a, V& updates) const {
    const V rho = hn::Set(d, params.rho);
    const V rest = hn::Set(d, 1.0f - params.rho);
    const V epsilon = hn::Set(d, params.epsilon);
    a = hn::MulAdd(rho, a, hn::Mul(rest, hn::Mul(g, g)));
    const V u = hn::Mul(hn::Div(hn::Sqrt(hn::Add(updates, epsilon)),
                                hn::Sqrt(hn::Add(a, epsilon))),
                        g);
    w = hn::NegMulAdd(hn::Set(d, scalars.learning_rate), u, w);
    updates = hn::MulAdd(rho, updates, hn::Mul(rest, hn::Mul(u, u)));
  }
};
TF_EMBED_ROW_FUNCTION(AdadeltaRow, Adadelta, AdadeltaParams)

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {

HWY_EXPORT(AdadeltaRow);

OptimizerOr MakeOptimizer(const OptimizerConfig& config,
                          const AdadeltaParams& params) {
  static constexpr SlotSpec kSlots[] = {{"accumulators", 0.0f},
                                        {"updates", 0.0f}};
  const Algorithm algorithm{"Adadelta", kSlots};
  return MakeFormulaOptimizer(algorithm, config, params,
                              HWY_DYNAMIC_POINTER(AdadeltaRow));
}

}  // namespace tf_embed
#endif  // HWY_ONCE
