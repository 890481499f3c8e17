#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/optimizers/assign.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/optimizers/row_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

// w = g: the accumulated "gradient" is the new value.
struct Assign {
  static constexpr int kSlots = 0;
  AssignParams params;
  StepScalars scalars;

  template <class D, class V>
  HWY_INLINE void operator()(D d, V g, V& w) const {
    (void)d;
    w = g;
  }
};
TF_EMBED_ROW_FUNCTION(AssignRow, Assign, AssignParams)

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {

HWY_EXPORT(AssignRow);

OptimizerOr MakeOptimizer(const OptimizerConfig& config,
                          const AssignParams& params) {
  const Algorithm algorithm{"Assign", {}};
  return MakeFormulaOptimizer(algorithm, config, params,
                              HWY_DYNAMIC_POINTER(AssignRow));
}

}  // namespace tf_embed
#endif  // HWY_ONCE
