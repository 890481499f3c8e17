#ifndef TF_EMBED_TF_EMBED_LOOKUP_ROW_FORMAT_REF_H_
#define TF_EMBED_TF_EMBED_LOOKUP_ROW_FORMAT_REF_H_

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "tf_embed/lookup/row_format.h"

namespace tf_embed {

// A column of a stored row as the format says, in plain arithmetic: the number
// is scale * code + bias.
struct RowElementRef {
  double scale = 1;
  double code = 0;
  double bias = 0;
};

template <typename T>
T ReadRef(const uint8_t* place) {
  T value;
  std::memcpy(&value, place, sizeof(value));
  return value;
}

inline double Bfloat16Ref(uint16_t bits) {
  const uint32_t wide = uint32_t{bits} << 16;
  return ReadRef<float>(reinterpret_cast<const uint8_t*>(&wide));
}

inline double Float16Ref(uint16_t bits) {
  const double sign = bits >> 15 ? -1 : 1;
  const int exponent = (bits >> 10) & 31;
  const int mantissa = bits & 1023;
  if (exponent == 31) {
    return mantissa ? std::numeric_limits<double>::quiet_NaN()
                    : sign * std::numeric_limits<double>::infinity();
  }
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

// Column k of row `id` of the table.
inline RowElementRef RowElement(const void* table, RowFormat format,
                                int64_t dim, int64_t id, int64_t k) {
  const uint8_t* const row =
      static_cast<const uint8_t*>(table) + id * RowBytes(format, dim);
  RowElementRef element;
  switch (format) {
    case RowFormat::kFloat32:
      element.code = ReadRef<float>(row + 4 * k);
      return element;
    case RowFormat::kBfloat16:
      element.code = Bfloat16Ref(ReadRef<uint16_t>(row + 2 * k));
      return element;
    case RowFormat::kFloat16:
      element.code = Float16Ref(ReadRef<uint16_t>(row + 2 * k));
      return element;
    case RowFormat::kInt8:
      element.code = row[k];
      element.scale = ReadRef<float>(row + dim);
      element.bias = ReadRef<float>(row + dim + 4);
      return element;
    case RowFormat::kInt4:
      element.code = k % 2 == 0 ? row[k / 2] % 16 : row[k / 2] / 16;
      element.scale = ReadRef<float>(row + (dim + 1) / 2);
      element.bias = ReadRef<float>(row + (dim + 1) / 2 + 4);
      return element;
  }
  return element;
}

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_LOOKUP_ROW_FORMAT_REF_H_
