#ifndef TF_EMBED_TF_EMBED_LOOKUP_ROW_FORMAT_H_
#define TF_EMBED_TF_EMBED_LOOKUP_ROW_FORMAT_H_

#include <cstdint>

namespace tf_embed {

// How the rows of a table are stored. All are read as float32.
//
//   kFloat32, kBfloat16, kFloat16   D numbers; in float16 finite ones: machines
//           without an instruction for it do not know its infinities and NaN
//   kInt8   D unsigned codes of a byte, then float32 scale and bias of the row
//   kInt4   the same with codes of half a byte, the first of a pair in the low
//           half; of an odd D the last half is unused
//
// Column k of a quantized row is scale * code[k] + bias. Scale and bias stand
// in the row, as in FBGEMM, and not in an array of their own: a random row then
// costs one page walk and neighbouring cache lines, which memory delivers as
// one, instead of two walks. They are float32 because float16 would save no
// cache line at the usual dimensions (64 codes and 4 or 8 bytes are two lines)
// and its rounding of the bias alone can exceed half a step. Pairs of codes are
// neighbours so that any run of columns is a run of bytes, whatever the
// dimension and the length of a vector.
enum class RowFormat { kFloat32, kBfloat16, kFloat16, kInt8, kInt4 };

// Scale and bias of a quantized row.
inline constexpr int64_t kRowScaleBytes = 2 * sizeof(float);

// What a row of `dim` columns occupies. Rows follow each other without a gap.
constexpr int64_t RowBytes(RowFormat format, int64_t dim) {
  switch (format) {
    case RowFormat::kFloat32:
      return dim * sizeof(float);
    case RowFormat::kBfloat16:
    case RowFormat::kFloat16:
      return dim * 2;
    case RowFormat::kInt8:
      return dim + kRowScaleBytes;
    case RowFormat::kInt4:
      return (dim + 1) / 2 + kRowScaleBytes;
  }
  return 0;
}

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_LOOKUP_ROW_FORMAT_H_
