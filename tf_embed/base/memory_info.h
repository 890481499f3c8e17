#ifndef TF_EMBED_TF_EMBED_BASE_MEMORY_INFO_H_
#define TF_EMBED_TF_EMBED_BASE_MEMORY_INFO_H_

#include <cstdint>
#include <string>

namespace tf_embed {

// Bytes that this process can still use before the kernel kills something: the
// machine's available memory, or what the control groups of the process (v1 or
// v2, any level) leave, whichever is less. INT64_MAX where neither is known.
int64_t AvailableMemoryBytes();

// Bytes of this process that are in memory now; 0 where unknown.
int64_t ResidentMemoryBytes();

// The same on the files under `root` instead of "/", for tests.
int64_t AvailableMemoryBytes(const std::string& root);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_BASE_MEMORY_INFO_H_
