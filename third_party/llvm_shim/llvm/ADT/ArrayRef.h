// Stand-in for LLVM's header, which XLA's headers of TensorFlow 2.19 include
// and its wheel does not ship. Enough to parse them; nothing here is called.
#ifndef TF_EMBED_THIRD_PARTY_LLVM_SHIM_LLVM_ADT_ARRAYREF_H_
#define TF_EMBED_THIRD_PARTY_LLVM_SHIM_LLVM_ADT_ARRAYREF_H_

#include <cstddef>

namespace llvm {

template <typename T>
class ArrayRef {
 public:
  ArrayRef() = default;
  ArrayRef(const T* data, size_t size) : data_(data), size_(size) {}
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  size_t size() const { return size_; }
  const T& operator[](size_t i) const { return data_[i]; }

 private:
  const T* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace llvm

#endif  // TF_EMBED_THIRD_PARTY_LLVM_SHIM_LLVM_ADT_ARRAYREF_H_
