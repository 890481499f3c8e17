// Row formats of fewer bits than float32; see row_format.h for how they are
// stored and table_rows-inl.h for what a format has.

// Per-target include guard.
#if defined(TF_EMBED_TF_EMBED_LOOKUP_LOW_PRECISION_ROWS_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef TF_EMBED_TF_EMBED_LOOKUP_LOW_PRECISION_ROWS_INL_H_
#undef TF_EMBED_TF_EMBED_LOOKUP_LOW_PRECISION_ROWS_INL_H_
#else
#define TF_EMBED_TF_EMBED_LOOKUP_LOW_PRECISION_ROWS_INL_H_
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "tf_embed/lookup/row_format.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Rows of 16-bit floats.
template <typename Element, int64_t kDim>
class HalfRows {
 public:
  static constexpr bool kAffine = false;

  HalfRows(const void* table, int64_t dim)
      : table_(static_cast<const Element*>(table)), dim_(dim) {}

  HWY_INLINE size_t row_bytes() const { return dim() * sizeof(Element); }
  HWY_INLINE const Element* Row(int64_t id) const {
    return table_ + id * dim();
  }

  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, const Element* row, size_t k) const {
    return hn::PromoteTo(d, hn::LoadU(hn::Rebind<Element, D>(), row + k));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> LoadN(D d, const Element* row, size_t k,
                              size_t n) const {
    return hn::PromoteTo(d, hn::LoadN(hn::Rebind<Element, D>(), row + k, n));
  }

 private:
  HWY_INLINE int64_t dim() const { return kDim > 0 ? kDim : dim_; }

  const Element* table_;
  int64_t dim_;
};

template <int64_t kDim = 0>
using Bfloat16Rows = HalfRows<hwy::bfloat16_t, kDim>;
template <int64_t kDim = 0>
using Float16Rows = HalfRows<hwy::float16_t, kDim>;

// One code in each byte.
struct Int8Codes {
  static constexpr RowFormat kFormat = RowFormat::kInt8;

  template <class D>
  static HWY_INLINE auto Load(D /*d*/, const uint8_t* row, size_t k) {
    return hn::LoadU(hn::Rebind<uint8_t, D>(), row + k);
  }
  template <class D>
  static HWY_INLINE auto LoadN(D /*d*/, const uint8_t* row, size_t k,
                               size_t n) {
    return hn::LoadN(hn::Rebind<uint8_t, D>(), row + k, n);
  }
};

// Two codes in each byte, the first in the low half. k is even.
struct Int4Codes {
  static constexpr RowFormat kFormat = RowFormat::kInt4;

  template <class D>
  static HWY_INLINE auto Load(D d, const uint8_t* row, size_t k) {
    return Unpack(d, hn::LoadU(Packed<D>(), row + k / 2));
  }
  template <class D>
  static HWY_INLINE auto LoadN(D d, const uint8_t* row, size_t k, size_t n) {
    return Unpack(d, hn::LoadN(Packed<D>(), row + k / 2, (n + 1) / 2));
  }

 private:
  template <class D>
  using Packed = hn::Half<hn::Rebind<uint8_t, D>>;

  // Byte i in 16 bits: its low half stays, its high half moves to the byte
  // above.
  template <class D, class V>
  static HWY_INLINE auto Unpack(D /*d*/, V packed) {
    const hn::Rebind<uint16_t, Packed<D>> d16;
    const auto wide = hn::PromoteTo(d16, packed);
    const auto pairs = hn::And(hn::Or(wide, hn::ShiftLeft<4>(wide)),
                               hn::Set(d16, uint16_t{0x0F0F}));
    return hn::BitCast(hn::Rebind<uint8_t, D>(), pairs);
  }
};

// Rows of codes: a term of a sum is scale * code + bias, and Load gives the
// code alone, so that the sum needs one multiplication for scale and weight
// together and adds up the biases once for all columns.
template <class Codes, int64_t kDim>
class CodedRows {
 public:
  static constexpr bool kAffine = true;

  CodedRows(const void* table, int64_t dim)
      : table_(static_cast<const uint8_t*>(table)),
        row_bytes_(RowBytes(Codes::kFormat, dim)) {}

  HWY_INLINE size_t row_bytes() const {
    return kDim > 0 ? RowBytes(Codes::kFormat, kDim) : row_bytes_;
  }
  HWY_INLINE const uint8_t* Row(int64_t id) const {
    return table_ + id * row_bytes();
  }

  HWY_INLINE float Scale(const uint8_t* row) const {
    return FloatAt(row + row_bytes() - kRowScaleBytes);
  }
  HWY_INLINE float Bias(const uint8_t* row) const {
    return FloatAt(row + row_bytes() - sizeof(float));
  }

  template <class D>
  HWY_INLINE hn::Vec<D> Load(D d, const uint8_t* row, size_t k) const {
    return ToFloat(d, Codes::Load(d, row, k));
  }
  template <class D>
  HWY_INLINE hn::Vec<D> LoadN(D d, const uint8_t* row, size_t k,
                              size_t n) const {
    return ToFloat(d, Codes::LoadN(d, row, k, n));
  }

 private:
  static HWY_INLINE float FloatAt(const uint8_t* place) {
    float value;
    std::memcpy(&value, place, sizeof(value));  // at any alignment
    return value;
  }

  template <class D, class V>
  static HWY_INLINE hn::Vec<D> ToFloat(D d, V codes) {
    return hn::ConvertTo(d, hn::PromoteTo(hn::Rebind<int32_t, D>(), codes));
  }

  const uint8_t* table_;
  int64_t row_bytes_;
};

template <int64_t kDim = 0>
using Int8Rows = CodedRows<Int8Codes, kDim>;
template <int64_t kDim = 0>
using Int4Rows = CodedRows<Int4Codes, kDim>;

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
