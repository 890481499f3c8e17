// Stand-in for LLVM's header; see ArrayRef.h.
#ifndef TF_EMBED_THIRD_PARTY_LLVM_SHIM_LLVM_ADT_SMALLVECTOR_H_
#define TF_EMBED_THIRD_PARTY_LLVM_SHIM_LLVM_ADT_SMALLVECTOR_H_

#include <vector>

#include "llvm/ADT/ArrayRef.h"

namespace llvm {

template <typename T, unsigned N = 4>
class SmallVector : public std::vector<T> {
 public:
  using std::vector<T>::vector;
  operator ArrayRef<T>() const {
    return ArrayRef<T>(this->data(), this->size());
  }
};

}  // namespace llvm

#endif  // TF_EMBED_THIRD_PARTY_LLVM_SHIM_LLVM_ADT_SMALLVECTOR_H_
