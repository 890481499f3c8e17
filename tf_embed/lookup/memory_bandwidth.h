#ifndef TF_EMBED_TF_EMBED_LOOKUP_MEMORY_BANDWIDTH_H_
#define TF_EMBED_TF_EMBED_LOOKUP_MEMORY_BANDWIDTH_H_

#include <cstdint>

namespace tf_embed {

// Bytes per second at which `num_threads` threads together read random rows of
// `row_bytes` bytes from memory (2 GB on huge pages), with the best of several
// ways to prefetch: the limit that lookups are measured against. Takes about a
// second, once for each pair of arguments.
double RandomRowReadBandwidth(int64_t row_bytes, int num_threads = 1);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_LOOKUP_MEMORY_BANDWIDTH_H_
