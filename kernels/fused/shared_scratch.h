#ifndef TF_EMBED_KERNELS_FUSED_SHARED_SCRATCH_H_
#define TF_EMBED_KERNELS_FUSED_SHARED_SCRATCH_H_

#include <cstddef>

#include "tf_embed/base/object_pool.h"

namespace tf_embed {

// Scratch memory of type T until the lease ends, from a pool that all kernels
// share: TensorFlow keeps an eager kernel, for good, for each set of attributes
// that it has seen, so that memory of their own would grow without bound. Comes
// as the last kernel left it, which may have had other features.
template <typename T>
typename ObjectPool<T>::Lease TakeSharedScratch() {
  // More than run at a time on most machines.
  constexpr size_t kMostFree = 32;
  static auto* const pool = new ObjectPool<T>(kMostFree);
  return pool->Take();
}

}  // namespace tf_embed

#endif  // TF_EMBED_KERNELS_FUSED_SHARED_SCRATCH_H_
