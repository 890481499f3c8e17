#include "tf_embed/base/aligned_buffer.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "tf_embed/base/memory_info.h"

namespace tf_embed {
namespace {

constexpr int64_t kHugePageBytes = int64_t{2} << 20;

// Bytes of all mapped buffers alive, touched or not.
std::atomic<int64_t> total_mapped_bytes{0};

int64_t RoundUp(int64_t bytes, int64_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

Status CheckFits(int64_t bytes) {
  const int64_t available = AlignedBuffer::AvailableBytes();
  if (bytes <= available) return OkStatus();
  return ResourceExhausted("cannot allocate ", bytes, " bytes: only ",
                           available, " bytes of memory are available");
}

// `bytes` zero bytes that begin on a huge page; null if the kernel refuses.
void* MapHugePages(int64_t bytes) {
  const int64_t reserved_bytes = bytes + kHugePageBytes;
  void* mapping = mmap(nullptr, reserved_bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  char* const reserved = static_cast<char*>(mapping);
  const int64_t misalignment =
      reinterpret_cast<uintptr_t>(reserved) % kHugePageBytes;
  const int64_t before = misalignment ? kHugePageBytes - misalignment : 0;
  if (before > 0) munmap(reserved, before);
  munmap(reserved + before + bytes, kHugePageBytes - before);
#ifdef MADV_HUGEPAGE
  // Refused where the kernel has no transparent huge pages: slower, not wrong.
  (void)madvise(reserved + before, bytes, MADV_HUGEPAGE);
#endif
  return reserved + before;
}

}  // namespace

// Pages that were mapped and never touched are missing from the machine's count
// of used memory but will be wanted; those touched are in the resident size of
// the process.
int64_t AlignedBuffer::AvailableBytes(const MappedMemory& freed) {
  constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();
  const int64_t available = AvailableMemoryBytes();
  if (available > kUnlimited - freed.resident_bytes) return kUnlimited;
  const int64_t mapped =
      total_mapped_bytes.load(std::memory_order_relaxed) - freed.bytes;
  const int64_t resident = ResidentMemoryBytes() - freed.resident_bytes;
  const int64_t untouched = std::max<int64_t>(mapped - resident, 0);
  return std::max<int64_t>(available + freed.resident_bytes - untouched, 0);
}

MappedMemory AlignedBuffer::Mapped() const {
  MappedMemory memory{mapped_bytes_, 0};
  const int64_t page_bytes = sysconf(_SC_PAGESIZE);
  std::vector<unsigned char> pages(kHugePageBytes / page_bytes);
  char* const begin = reinterpret_cast<char*>(data_);
  for (int64_t i = 0; i < mapped_bytes_; i += kHugePageBytes) {
    if (mincore(begin + i, kHugePageBytes, pages.data()) != 0) continue;
    for (const unsigned char page : pages) {
      memory.resident_bytes += (page & 1) * page_bytes;
    }
  }
  return memory;
}

StatusOr<AlignedBuffer> AlignedBuffer::Create(int64_t num_floats) {
  // Leaves room to round up without overflow.
  constexpr int64_t kMaxFloats =
      std::numeric_limits<int64_t>::max() / sizeof(float) / 2;
  if (num_floats < 0) {
    return InvalidArgument("a buffer of ", num_floats, " floats was asked for");
  }
  if (num_floats == 0) return AlignedBuffer();
  if (num_floats > kMaxFloats) {
    return ResourceExhausted("cannot allocate ", num_floats, " floats");
  }
  const int64_t bytes = num_floats * sizeof(float);
  if (bytes < kHugePageBytes) {
    const int64_t rounded = RoundUp(bytes, kAlignmentBytes);
    void* data = std::aligned_alloc(kAlignmentBytes, rounded);
    if (data == nullptr) {
      return ResourceExhausted("cannot allocate ", bytes, " bytes");
    }
    std::memset(data, 0, rounded);
    return AlignedBuffer(static_cast<float*>(data), num_floats, 0);
  }
  const int64_t mapped_bytes = RoundUp(bytes, kHugePageBytes);
  TF_EMBED_RETURN_IF_ERROR(CheckFits(mapped_bytes));
  void* data = MapHugePages(mapped_bytes);
  if (data == nullptr) {
    return ResourceExhausted("cannot allocate ", bytes,
                             " bytes: the system refuses to map them");
  }
  total_mapped_bytes.fetch_add(mapped_bytes, std::memory_order_relaxed);
  return AlignedBuffer(static_cast<float*>(data), num_floats, mapped_bytes);
}

AlignedBuffer::~AlignedBuffer() {
  if (mapped_bytes_ > 0) {
    munmap(data_, mapped_bytes_);
    total_mapped_bytes.fetch_sub(mapped_bytes_, std::memory_order_relaxed);
  } else {
    std::free(data_);
  }
}

AlignedBuffer::AlignedBuffer(AlignedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      mapped_bytes_(std::exchange(other.mapped_bytes_, 0)) {}

AlignedBuffer& AlignedBuffer::operator=(AlignedBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(mapped_bytes_, other.mapped_bytes_);
  return *this;
}

}  // namespace tf_embed
