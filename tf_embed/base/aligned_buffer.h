#ifndef TF_EMBED_TF_EMBED_BASE_ALIGNED_BUFFER_H_
#define TF_EMBED_TF_EMBED_BASE_ALIGNED_BUFFER_H_

#include <cstddef>
#include <cstdint>

#include "tf_embed/base/span.h"
#include "tf_embed/base/status.h"

namespace tf_embed {

// Memory of buffers that have pages of their own.
struct MappedMemory {
  int64_t bytes = 0;
  int64_t resident_bytes = 0;  // of pages that were touched

  MappedMemory& operator+=(const MappedMemory& other) {
    bytes += other.bytes;
    resident_bytes += other.resident_bytes;
    return *this;
  }
};

// An array of floats for tables and slot variables: all zero at first, 64-byte
// aligned. A large one lies on huge pages where the system has them (1.4-1.6x
// faster lookups than on 4 KB pages) and takes up memory only as it is touched.
class AlignedBuffer {
 public:
  static constexpr int64_t kAlignmentBytes = 64;

  // ResourceExhausted if the machine or the process's control group could not
  // hold this buffer together with all others alive: a table that does not fit
  // is an error here, not the end of the process at some later touch.
  static StatusOr<AlignedBuffer> Create(int64_t num_floats);

  // How many bytes Create could still give, once all buffers of `freed` are
  // gone.
  static int64_t AvailableBytes(const MappedMemory& freed = {});

  AlignedBuffer() = default;  // empty
  ~AlignedBuffer();
  AlignedBuffer(AlignedBuffer&& other) noexcept;
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept;

  float* data() { return data_; }
  const float* data() const { return data_; }
  int64_t size() const { return size_; }
  MappedMemory Mapped() const;
  Span<float> span() { return Span<float>(data_, size_); }
  Span<const float> span() const { return Span<const float>(data_, size_); }

 private:
  AlignedBuffer(float* data, int64_t size, int64_t mapped_bytes)
      : data_(data), size_(size), mapped_bytes_(mapped_bytes) {}

  float* data_ = nullptr;
  int64_t size_ = 0;
  int64_t mapped_bytes_ = 0;  // 0: from the heap
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_BASE_ALIGNED_BUFFER_H_
