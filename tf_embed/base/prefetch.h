#ifndef TF_EMBED_TF_EMBED_BASE_PREFETCH_H_
#define TF_EMBED_TF_EMBED_BASE_PREFETCH_H_

#include <cstddef>

namespace tf_embed {

inline constexpr size_t kCacheLineBytes = 64;

// GCC takes a function that does nothing but prefetch for one without effect
// and drops the calls. Inlined by force, it is gone before GCC looks; the same
// holds for every function that only calls these.
#define TF_EMBED_INLINE_PREFETCH inline __attribute__((always_inline))

// The level-2 cache, for far-ahead prefetches: on Zen 4, fetching to level 1
// instead stalls at two thirds of the bandwidth; on Zen 5 the two are alike.
struct ToLevel2 {
  static TF_EMBED_INLINE_PREFETCH void Prefetch(const char* line) {
    __builtin_prefetch(line, 0, 2);
  }
};

// The level-1 cache, for lines that are about to be used.
struct ToLevel1 {
  static TF_EMBED_INLINE_PREFETCH void Prefetch(const char* line) {
    __builtin_prefetch(line, 0, 3);
  }
};

// The level-1 cache, for lines that are about to be written.
struct ToWrite {
  static TF_EMBED_INLINE_PREFETCH void Prefetch(const char* line) {
    __builtin_prefetch(line, 1, 3);
  }
};

// All cache lines that `bytes` bytes at `row` touch; bytes at least 1.
template <class Level>
TF_EMBED_INLINE_PREFETCH void PrefetchRow(const void* row, size_t bytes) {
  const char* const begin = static_cast<const char*>(row);
  // Where the size is a constant, no loop is left.
#pragma GCC unroll 8
  for (size_t offset = 0; offset < bytes; offset += kCacheLineBytes) {
    Level::Prefetch(begin + offset);
  }
  // A row that is no multiple of a line may reach into one more.
  if (bytes % kCacheLineBytes != 0) Level::Prefetch(begin + bytes - 1);
}

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_BASE_PREFETCH_H_
