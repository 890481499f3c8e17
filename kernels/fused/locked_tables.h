#ifndef TF_EMBED_KERNELS_FUSED_LOCKED_TABLES_H_
#define TF_EMBED_KERNELS_FUSED_LOCKED_TABLES_H_

#include <vector>

#include "absl/status/status.h"
#include "tensorflow/core/framework/resource_var.h"
#include "tensorflow/core/platform/refcount.h"
#include "tf_embed/base/span.h"

namespace tensorflow {
class OpKernelContext;
}  // namespace tensorflow

namespace tf_embed {

// Resource variables held in place: nobody writes to them (kRead), or reads
// them (kWrite), until this object goes.
class LockedTables {
 public:
  enum class Mode { kRead, kWrite };

  explicit LockedTables(Mode mode) : mode_(mode) {}
  ~LockedTables();
  LockedTables(const LockedTables&) = delete;
  LockedTables& operator=(const LockedTables&) = delete;

  // Locks the variables among inputs [first, first + count); an input that is
  // no resource is taken as the table itself (kRead only). A variable must be
  // an initialised matrix of its element type in `types` (empty: float32); for
  // kWrite no two may be the same, and each is made the sole owner of its
  // memory. Call once.
  absl::Status Lock(tensorflow::OpKernelContext* ctx, int first, int count,
                    Span<const tensorflow::DataType> types = {});

  // What the inputs hold, in their order.
  const std::vector<tensorflow::Tensor*>& tensors() const { return tensors_; }

 private:
  const Mode mode_;
  std::vector<tensorflow::core::RefCountPtr<tensorflow::Var>> variables_;
  std::vector<tensorflow::Var*> locked_;
  std::vector<tensorflow::Tensor*> tensors_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_KERNELS_FUSED_LOCKED_TABLES_H_
