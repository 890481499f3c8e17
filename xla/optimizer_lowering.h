#ifndef TF_EMBED_XLA_OPTIMIZER_LOWERING_H_
#define TF_EMBED_XLA_OPTIMIZER_LOWERING_H_

#include <vector>

#include "tf_embed/base/status.h"
#include "tf_embed/optimizers/optimizer_config.h"
#include "xla/hlo/builder/xla_builder.h"

namespace tf_embed {

// Rows of a table and of its slot variables, in the order of
// Optimizer::slots(); F32, all of one shape.
struct OptimizerRows {
  xla::XlaOp weights;
  std::vector<xla::XlaOp> slots;
};

// Unimplemented for optimizers whose formula has no HLO here; these are the
// ones that TensorFlow's Python API does not offer.
Status CanLowerOptimizer(const OptimizerConfig& config);

// What Optimizer::UpdateRows does, on all rows at once.
//   learning_rate: F32 scalar
//   gradient:      accumulated, of the rows' shape
OptimizerRows LowerOptimizer(const OptimizerConfig& config,
                             xla::XlaOp learning_rate, xla::XlaOp gradient,
                             const OptimizerRows& rows);

}  // namespace tf_embed

#endif  // TF_EMBED_XLA_OPTIMIZER_LOWERING_H_
