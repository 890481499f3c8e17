#ifndef TF_EMBED_TF_EMBED_OPTIMIZERS_OPTIMIZER_H_
#define TF_EMBED_TF_EMBED_OPTIMIZERS_OPTIMIZER_H_

#include <cstdint>
#include <memory>

#include "tf_embed/base/span.h"
#include "tf_embed/base/status.h"
#include "tf_embed/optimizers/optimizer_config.h"

namespace tf_embed {

inline constexpr int kMaxSlots = 3;

// A slot variable: one float per weight, kept beside the table.
struct SlotSpec {
  const char* name;     // as the Load and Retrieve ops call it: "accumulators"
  float initial_value;  // until the first Load
};

// What one optimizer step needs to know besides the row: the same for all rows
// of a table.
struct StepScalars {
  float learning_rate = 0;
  float step_counter = 0;  // FrequencyAwareAdagrad only
};

// Rows of a table with their gradients.
struct RowBlock {
  int64_t num_rows = 0;
  const int64_t* rows = nullptr;  // [num_rows], distinct
  // The accumulated gradient of row i is scales[i] * gradients[i], [dim].
  const float* const* gradients = nullptr;
  const float* scales = nullptr;
  float* weights = nullptr;       // [V, dim]
  float* const* slots = nullptr;  // each [V, dim], in the order of slots()
  int64_t dim = 0;
  // If not null, [num_rows]: rows to fetch into the level-2 and the level-1
  // cache while row i is updated.
  const int64_t* far_rows = nullptr;
  const int64_t* near_rows = nullptr;
};

// The update rule of one table: gradient clipping, weight decay, the
// optimizer's formula and weight clipping, in this order.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // InvalidArgument for parameters outside their range, Unimplemented for an
  // algorithm that can't be configured; both name the algorithm.
  static StatusOr<std::unique_ptr<const Optimizer>> Create(
      const OptimizerConfig& config);

  // The algorithm as the Load and Retrieve ops spell it: "AdagradMomentum".
  virtual const char* name() const = 0;
  virtual Span<const SlotSpec> slots() const = 0;

  // Not OK where rows can be looked up but not updated (MDLAdagradLight).
  virtual Status CanUpdate() const { return OkStatus(); }

  // InvalidArgument for a rate with which the formula would leave only NaN.
  virtual Status CheckLearningRate(float /*rate*/) const { return OkStatus(); }

  // Non-lazy Adam and Lion: each step visits all rows, with gradient 0 where
  // no id pointed.
  virtual bool UpdatesUntouchedRows() const { return false; }

  // The rows of a block, in place: what leads to the formula is paid once for
  // all of them. No array overlaps another; no alignment is required. Never
  // fails: NaN and infinity go through the arithmetic.
  virtual void UpdateRows(const StepScalars& scalars,
                          const RowBlock& block) const = 0;

  // One row: weights and each slot are [dim].
  void UpdateRow(const StepScalars& scalars, const float* gradient,
                 float* weights, float* const* slots, int64_t dim) const {
    const int64_t row = 0;
    const float scale = 1;
    UpdateRows(scalars, {1, &row, &gradient, &scale, weights, slots, dim});
  }
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_OPTIMIZERS_OPTIMIZER_H_
