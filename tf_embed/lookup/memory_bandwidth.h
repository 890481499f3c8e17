#ifndef TF_EMBED_TF_EMBED_LOOKUP_MEMORY_BANDWIDTH_H_
#define TF_EMBED_TF_EMBED_LOOKUP_MEMORY_BANDWIDTH_H_

#include <cstdint>

namespace tf_embed {

// Bytes per second at which one thread reads random rows of `row_bytes` bytes
// from memory (2 GB on huge pages), with the best of several ways to prefetch:
// the limit that lookups are measured against. Takes about a second, once.
double RandomRowReadBandwidth(int64_t row_bytes);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_LOOKUP_MEMORY_BANDWIDTH_H_
