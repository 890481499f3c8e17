#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/optimizers/sgd.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/optimizers/row_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

// w -= lr * g
struct Sgd {
  static constexpr int kSlots = 0;
  SgdParams params;
  StepScalars scalars;

  template <class D, class V>
  HWY_INLINE void operator()(D d, V g, V& w) const {
    w = hn::NegMulAdd(hn::Set(d, scalars.learning_rate), g, w);
  }
};
TF_EMBED_ROW_FUNCTION(SgdRow, Sgd, SgdParams)

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {

HWY_EXPORT(SgdRow);

OptimizerOr MakeOptimizer(const OptimizerConfig& config,
                          const SgdParams& params) {
  const Algorithm algorithm{"StochasticGradientDescent", {}};
  return MakeFormulaOptimizer(algorithm, config, params,
                              HWY_DYNAMIC_POINTER(SgdRow));
}

}  // namespace tf_embed
#endif  // HWY_ONCE
