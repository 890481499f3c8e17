#ifndef TF_EMBED_TF_EMBED_LOOKUP_SPARSE_UPDATE_INTERNAL_H_
#define TF_EMBED_TF_EMBED_LOOKUP_SPARSE_UPDATE_INTERNAL_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "tf_embed/lookup/contributions.h"

namespace tf_embed {

// Sorted contributions, cut into runs of the same row.
template <class Contribution>
struct RowRuns {
  const Contribution* contributions;
  int64_t num_contributions;
  const typename Contribution::Index* begins;  // [num_runs + 1]
  int64_t num_runs;
  const Bag* bags;

  int64_t id(int64_t run) const { return contributions[begins[run]].id(); }
};

// How many rows go to the optimizer at a time: enough for its call to cost
// nothing, few enough for them and their gradients to stay in the level-1
// cache.
inline constexpr int64_t kMaxBlockRows = 8;
inline int64_t BlockRows(int64_t dim) {
  constexpr int64_t kBlockFloats = 1024;
  return std::clamp<int64_t>(kBlockFloats / std::max<int64_t>(dim, 1), 1,
                             kMaxBlockRows);
}

// Rows [begin, end).
struct RowRange {
  int64_t begin;
  int64_t end;
};

// Uninitialized memory that grows and is kept.
class ScratchArray {
 public:
  // Room for n elements. What was there is lost.
  template <class T>
  T* Get(size_t n) {
    const size_t bytes = n * sizeof(T) + kAlignmentBytes;
    if (bytes > capacity_bytes_) {
      // Half as much again: batches of varying size settle soon.
      capacity_bytes_ = bytes + bytes / 2;
      memory_.reset();  // before the next is taken, not after
      memory_.reset(new char[capacity_bytes_]);
    }
    const uintptr_t address = reinterpret_cast<uintptr_t>(memory_.get());
    return reinterpret_cast<T*>((address + kAlignmentBytes - 1) &
                                ~(kAlignmentBytes - 1));
  }

 private:
  static constexpr uintptr_t kAlignmentBytes = 64;

  std::unique_ptr<char[]> memory_;
  size_t capacity_bytes_ = 0;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_LOOKUP_SPARSE_UPDATE_INTERNAL_H_
