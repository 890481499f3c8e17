#include "kernels/fused/table_formats.h"

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/status_bridge.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/tensor.h"

namespace tf_embed {
namespace {

constexpr struct {
  const char* name;
  RowFormat format;
  tensorflow::DataType type;
} kFormats[] = {{"float32", RowFormat::kFloat32, tensorflow::DT_FLOAT},
                {"bfloat16", RowFormat::kBfloat16, tensorflow::DT_BFLOAT16},
                {"float16", RowFormat::kFloat16, tensorflow::DT_HALF},
                {"int8", RowFormat::kInt8, tensorflow::DT_UINT8},
                {"int4", RowFormat::kInt4, tensorflow::DT_UINT8}};

const char* FormatName(RowFormat format) {
  for (const auto& row : kFormats) {
    if (row.format == format) return row.name;
  }
  return "";
}

}  // namespace

absl::Status GetTableFormats(tensorflow::OpKernelConstruction* ctx,
                             int num_tables, std::vector<RowFormat>* formats) {
  std::vector<std::string> names;
  TF_RETURN_IF_ERROR(ctx->GetAttr("table_formats", &names));
  formats->assign(num_tables, RowFormat::kFloat32);
  if (names.empty()) return absl::OkStatus();
  if (names.size() != num_tables) {
    return ToAbsl(InvalidArgument("table_formats must have ", num_tables,
                                  " elements, one a table, or none, not ",
                                  names.size()));
  }
  for (int i = 0; i < num_tables; ++i) {
    bool found = false;
    for (const auto& row : kFormats) {
      if (names[i] != row.name) continue;
      (*formats)[i] = row.format;
      found = true;
    }
    if (!found) {
      return ToAbsl(InvalidArgument(
          "table_formats[", i, "] is '", names[i],
          "', but must be float32, bfloat16, float16, int8 or int4"));
    }
  }
  return absl::OkStatus();
}

tensorflow::DataType ElementType(RowFormat format) {
  for (const auto& row : kFormats) {
    if (row.format == format) return row.type;
  }
  return tensorflow::DT_INVALID;
}

absl::Status CheckRows(const tensorflow::Tensor& table, int index,
                       RowFormat format, int64_t dim) {
  const int64_t row_bytes =
      table.dim_size(1) * tensorflow::DataTypeSize(table.dtype());
  if (row_bytes == RowBytes(format, dim)) return absl::OkStatus();
  return ToAbsl(InvalidArgument(
      "table ", index, " has shape ", table.shape().DebugString(),
      ", but the op was built for dimension ", dim, ", which in ",
      FormatName(format), " makes rows of ",
      RowBytes(format, dim) / tensorflow::DataTypeSize(ElementType(format))));
}

}  // namespace tf_embed
