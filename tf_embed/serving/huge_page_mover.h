#ifndef TF_EMBED_TF_EMBED_SERVING_HUGE_PAGE_MOVER_H_
#define TF_EMBED_TF_EMBED_SERVING_HUGE_PAGE_MOVER_H_

#include <cstdint>
#include <mutex>
#include <vector>

#include "tf_embed/base/span.h"

namespace tf_embed {

// Moves tables that others allocated onto huge pages: random rows are then
// found without walking page tables (measured: 26 tables of 25 MB, one id a
// bag, 3.7 ms down to 2.8 ms a call). To move a page of 2 MB takes some 5 ms,
// so a call moves one at most, and only one for every kBytesReadPerPage that
// lookups have read: whoever reads little is not slowed down for what would
// hardly help. What the memory holds does not change. Does nothing where the
// system cannot.
class HugePageMover {
 public:
  struct Region {
    const void* data = nullptr;
    int64_t bytes = 0;
  };

  static constexpr int64_t kBytesReadPerPage = int64_t{128} << 20;

  // Tells that `bytes_read` of the regions were looked up, and moves a page of
  // them if one is due. The regions must be alive and fully written; one that
  // is not where it was at the last call starts anew. May be called from
  // several threads; one works, the others return at once.
  void Advance(Span<const Region> regions, int64_t bytes_read);

  // Whether the last Advance left nothing to do. For the thread that calls
  // Advance.
  bool done() const { return done_ || unsupported_; }

 private:
  struct Progress {
    const void* data = nullptr;
    uintptr_t next = 0;  // moved up to here
  };

  std::mutex mutex_;
  std::vector<Progress> progress_;
  int64_t bytes_read_ = 0;  // since the last page
  bool unsupported_ = false;
  bool done_ = false;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_SERVING_HUGE_PAGE_MOVER_H_
