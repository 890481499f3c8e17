#ifndef TF_EMBED_KERNELS_FUSED_TABLE_FORMATS_H_
#define TF_EMBED_KERNELS_FUSED_TABLE_FORMATS_H_

#include <vector>

#include "absl/status/status.h"
#include "tensorflow/core/framework/types.pb.h"
#include "tf_embed/lookup/row_format.h"

namespace tensorflow {
class OpKernelConstruction;
class Tensor;
}  // namespace tensorflow

namespace tf_embed {

// Reads the attribute `table_formats`: one a table, or empty for float32.
absl::Status GetTableFormats(tensorflow::OpKernelConstruction* ctx,
                             int num_tables, std::vector<RowFormat>* formats);

// The element type of a tensor that holds such rows.
tensorflow::DataType ElementType(RowFormat format);

// InvalidArgument unless the matrix `table`, input `index` of an op, has rows
// of this format and dimension.
absl::Status CheckRows(const tensorflow::Tensor& table, int index,
                       RowFormat format, int64_t dim);

}  // namespace tf_embed

#endif  // TF_EMBED_KERNELS_FUSED_TABLE_FORMATS_H_
