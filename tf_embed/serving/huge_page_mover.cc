#include "tf_embed/serving/huge_page_mover.h"

#ifdef __linux__
#include <sys/mman.h>

#include <cerrno>
#endif

namespace tf_embed {
namespace {

constexpr int64_t kHugePageBytes = int64_t{2} << 20;

// False where the system does not know how.
bool MoveToHugePage(uintptr_t page) {
#ifdef __linux__
  constexpr int kMadvCollapse = 25;  // Linux 6.1; not in older headers
  void* const address = reinterpret_cast<void*>(page);
  // So that the page stays huge; it is no error that the system has none free.
  madvise(address, kHugePageBytes, MADV_HUGEPAGE);
  return madvise(address, kHugePageBytes, kMadvCollapse) == 0 ||
         errno != EINVAL;
#else
  return false;
#endif
}

uintptr_t RoundUp(uintptr_t address) {
  return (address + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
}

}  // namespace

void HugePageMover::Advance(Span<const Region> regions, int64_t bytes_read) {
  const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (!lock.owns_lock() || unsupported_) return;
  bytes_read_ += bytes_read;
  if (bytes_read_ < kBytesReadPerPage) return;
  bytes_read_ = 0;
  progress_.resize(regions.size());
  done_ = false;
  for (size_t i = 0; i < regions.size(); ++i) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(regions[i].data);
    const uintptr_t end = begin + regions[i].bytes;
    Progress& progress = progress_[i];
    if (progress.data != regions[i].data) {
      progress.data = regions[i].data;
      progress.next = RoundUp(begin);
    }
    if (progress.next + kHugePageBytes > end) continue;
    unsupported_ = !MoveToHugePage(progress.next);
    progress.next += kHugePageBytes;
    return;
  }
  done_ = true;
}

}  // namespace tf_embed
