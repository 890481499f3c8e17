#ifndef TF_EMBED_TF_EMBED_BASE_SPAN_H_
#define TF_EMBED_TF_EMBED_BASE_SPAN_H_

#include <cstddef>
#include <type_traits>
#include <vector>

namespace tf_embed {

// A view of `size` contiguous elements; owns nothing. (C++17 has no std::span,
// and Abseil's would bring TensorFlow's library into the core.)
template <typename T>
class Span {
 public:
  using value_type = std::remove_cv_t<T>;

  constexpr Span() = default;
  constexpr Span(T* data, size_t size) : data_(data), size_(size) {}
  template <size_t N>
  constexpr Span(T (&array)[N]) : data_(array), size_(N) {}
  Span(std::vector<value_type>& v) : data_(v.data()), size_(v.size()) {}
  template <typename U = T, typename = std::enable_if_t<std::is_const_v<U>>>
  Span(const std::vector<value_type>& v) : data_(v.data()), size_(v.size()) {}
  template <typename U = T, typename = std::enable_if_t<std::is_const_v<U>>>
  Span(Span<value_type> other) : data_(other.data()), size_(other.size()) {}

  constexpr T* data() const { return data_; }
  constexpr size_t size() const { return size_; }
  constexpr bool empty() const { return size_ == 0; }
  constexpr T& operator[](size_t i) const { return data_[i]; }
  constexpr T& back() const { return data_[size_ - 1]; }
  constexpr T* begin() const { return data_; }
  constexpr T* end() const { return data_ + size_; }

 private:
  T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_BASE_SPAN_H_
