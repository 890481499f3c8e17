#ifndef TF_EMBED_XLA_FUSED_CONTRIBUTIONS_H_
#define TF_EMBED_XLA_FUSED_CONTRIBUTIONS_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/fused/features.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/core/framework/tensor_shape.h"
#include "xla/hlo/builder/xla_builder.h"
#include "xla/lowering_target.h"
#include "xla/segment_sums.h"

namespace tf_embed {

// Whether positions of this form are sums, in which weights count.
bool Combines(FeatureForm form);

// The ids of a feature of a fused op, as the program knows them: position
// positions[j] of the output gets coefficients[j] * row ids[j] of the table.
struct FusedContributions {
  int64_t num_ids = 0;
  int64_t num_positions = 0;
  std::vector<int64_t> position_shape;
  // The number of ids of each position, one position after the other; 0: it
  // differs, or the program is not known to have the same of each.
  int64_t ids_a_position = 0;
  xla::XlaOp ids;        // S32 [N], each in [0, V)
  xla::XlaOp kept;       // PRED [N]; else the id is left out
  xla::XlaOp positions;  // S32 [N]; num_positions: the id is left out
  xla::XlaOp weights;    // F32 [N], 0 where the id is left out
  // F32 [P] of mean and sqrtn, by which sums are multiplied; else not valid.
  xla::XlaOp scales;
  LoweringTarget target = LoweringTarget::kCpu;
  // For a GPU, where positions combine their ids and ids_a_position is 0: the
  // entries of each position, in `order` (S32 [N]; not valid: as they are).
  Segments segments;
  xla::XlaOp order;

  // Weight times scale of each id, [N].
  xla::XlaOp Coefficients() const;

  // `ids`, with `other` in place of those that are left out.
  xla::XlaOp IdsOr(int64_t other) const;

  // `rows` [N, dim] with zeros for ids that are left out. (A product with their
  // weight, 0, would let infinity through.)
  xla::XlaOp ZeroWhereLeftOut(xla::XlaOp rows, int64_t dim) const;

  // The sums by position, [P, dim], of `values` [N, dim] of the ids.
  xla::XlaOp Sums(xla::XlaOp values, int64_t dim) const;
  // The same of a number for each id, [N]: [P].
  xla::XlaOp Sums(xla::XlaOp values) const;

  // The sum of weight * row over the ids of each position, [P, dim], of the row
  // of each id: `rows` [N, dim].
  xla::XlaOp WeightedSums(xla::XlaOp rows, int64_t dim) const;
};

// What the CPU kernels' FeatureIds are, but for ids that are not in the table:
// a program can't report them and leaves them out. Reports what shapes and
// constants show to be wrong. Unimplemented where the shape of the output
// depends on values that the program gets when it runs.
absl::StatusOr<FusedContributions> LowerContributions(
    tensorflow::XlaOpKernelContext* ctx, const FusedFeatures::Feature& feature,
    int64_t table_rows);

// The gradient of feature f's activations, an input of the op, as [P, D].
absl::StatusOr<xla::XlaOp> LowerGradient(tensorflow::XlaOpKernelContext* ctx,
                                         const FusedFeatures& features, int f,
                                         const FusedContributions& ids);

// InvalidArgument unless a table is a matrix with so many columns.
absl::Status CheckTableShape(const tensorflow::TensorShape& shape, int table,
                             int64_t columns);

}  // namespace tf_embed

#endif  // TF_EMBED_XLA_FUSED_CONTRIBUTIONS_H_
