#ifndef TF_EMBED_KERNELS_DEDUP_TUPLE_MASK_H_
#define TF_EMBED_KERNELS_DEDUP_TUPLE_MASK_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/tensor_shape.h"
#include "tf_embed/base/status.h"
#include "tf_embed/engine/config.h"

namespace tf_embed {

// Deduplication data as plain tensors, which SplitDedupData makes of them and
// MergeDedupData takes: integers, of which the first is the number of a batch
// ticket, and floats. A tuple mask says how many there are; it has a row
// (type, span) for each run of elements.
enum DedupElementType : int { kDedupIntegers = 0, kDedupFloats = 1 };

struct DedupMask {
  struct Run {
    DedupElementType type;
    int64_t span;
  };
  std::vector<Run> runs;
  int64_t integers = 0;  // in all
  int64_t floats = 0;
  int num_cores = 1;  // that share each span
};

// How many integers the data of this engine have: one for each core that an op
// speaks for. They have no floats.
int NumDedupIntegers(const EngineConfig& config);

// Reads the attributes `tuple_mask` and `config` of Split and Merge. `op` is
// for the message.
absl::Status ReadDedupMask(tensorflow::OpKernelConstruction* ctx,
                           const char* op, DedupMask* mask);

// InvalidArgument unless the shapes are those that the mask says.
Status CheckDedupTensors(const DedupMask& mask,
                         const tensorflow::TensorShape& integers,
                         const tensorflow::TensorShape& floats);

}  // namespace tf_embed

#endif  // TF_EMBED_KERNELS_DEDUP_TUPLE_MASK_H_
