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

  // Non-lazy Adam and Lion: each step visits all rows, with gradient 0 where
  // no id pointed.
  virtual bool UpdatesUntouchedRows() const { return false; }

  // One row in place.
  //   gradient: [dim], accumulated
  //   weights:  [dim]
  //   slots:    one pointer to [dim] per slot, in the order of slots()
  // No argument overlaps another; no alignment is required. Never fails: NaN
  // and infinity go through the arithmetic.
  virtual void UpdateRow(const StepScalars& scalars, const float* gradient,
                         float* weights, float* const* slots,
                         int64_t dim) const = 0;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_OPTIMIZERS_OPTIMIZER_H_
