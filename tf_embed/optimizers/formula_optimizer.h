#ifndef TF_EMBED_TF_EMBED_OPTIMIZERS_FORMULA_OPTIMIZER_H_
#define TF_EMBED_TF_EMBED_OPTIMIZERS_FORMULA_OPTIMIZER_H_

#include <cstdint>
#include <memory>

#include "tf_embed/base/span.h"
#include "tf_embed/optimizers/optimizer.h"
#include "tf_embed/optimizers/optimizer_config.h"
#include "tf_embed/optimizers/registry.h"

namespace tf_embed {

// What surrounds the formula, the same for all optimizers: the gradient is
// clipped, the weights decay, the formula runs, the weights are clipped.
struct Surroundings {
  Limits gradient_limits;
  Limits weight_limits;
  float decay_factor = 0;
  bool multiply_decay_by_learning_rate = false;

  bool any() const {
    return gradient_limits.limited() || weight_limits.limited() ||
           decay_factor != 0;
  }
};

// What differs between optimizers besides formula and parameters.
struct Algorithm {
  const char* name;
  Span<const SlotSpec> slots;
  bool updates_untouched_rows = false;
  bool divides_by_learning_rate = false;
};

// Optimizer::UpdateRows of one algorithm, compiled for one SIMD target: an
// instance of UpdateRows in row_update-inl.h.
template <class Params>
using RowFunction = void (*)(const Params& params,
                             const Surroundings& surroundings,
                             const StepScalars& scalars, const RowBlock& block);

// An optimizer that is a formula on the elements of a row.
template <class Params>
class FormulaOptimizer final : public Optimizer {
 public:
  FormulaOptimizer(const Algorithm& algorithm, const OptimizerConfig& config,
                   const Params& params, RowFunction<Params> row_function)
      : algorithm_(algorithm), params_(params), row_function_(row_function) {
    surroundings_.gradient_limits = config.gradient_clipping_limits;
    surroundings_.weight_limits = config.clipping_limits;
    surroundings_.decay_factor = config.weight_decay_factor;
    surroundings_.multiply_decay_by_learning_rate =
        config.multiply_weight_decay_factor_by_learning_rate;
  }

  const char* name() const override { return algorithm_.name; }
  Span<const SlotSpec> slots() const override { return algorithm_.slots; }
  bool UpdatesUntouchedRows() const override {
    return algorithm_.updates_untouched_rows;
  }
  Status CheckLearningRate(float rate) const override {
    if (rate != 0 || !algorithm_.divides_by_learning_rate) return OkStatus();
    return InvalidArgument("the learning rate is 0, but ", algorithm_.name,
                           " divides by it");
  }
  void UpdateRows(const StepScalars& scalars,
                  const RowBlock& block) const override {
    row_function_(params_, surroundings_, scalars, block);
  }

 private:
  const Algorithm algorithm_;
  const Params params_;
  Surroundings surroundings_;
  const RowFunction<Params> row_function_;
};

template <class Params>
std::unique_ptr<const Optimizer> MakeFormulaOptimizer(
    const Algorithm& algorithm, const OptimizerConfig& config,
    const Params& params, RowFunction<Params> row_function) {
  return std::make_unique<FormulaOptimizer<Params>>(algorithm, config, params,
                                                    row_function);
}

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_OPTIMIZERS_FORMULA_OPTIMIZER_H_
