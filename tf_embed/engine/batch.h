#ifndef TF_EMBED_TF_EMBED_ENGINE_BATCH_H_
#define TF_EMBED_TF_EMBED_ENGINE_BATCH_H_

#include <cstdint>
#include <vector>

#include "tf_embed/base/span.h"
#include "tf_embed/base/status.h"
#include "tf_embed/base/work_clock.h"
#include "tf_embed/engine/config.h"
#include "tf_embed/lookup/pooled_ids.h"

namespace tf_embed {

enum class Combiner { kSum, kMean, kSqrtn };

// An input tensor of an enqueue op, as the op has it.
struct ArrayView {
  enum class Type { kInt32, kInt64, kFloat32, kFloat64 };
  Type type = Type::kInt32;
  const void* data = nullptr;
  Span<const int64_t> shape;

  int64_t rank() const { return static_cast<int64_t>(shape.size()); }
  int64_t num_elements() const {
    int64_t product = 1;
    for (int64_t size : shape) product *= size;
    return product;
  }
};

// One input (a feature, or a table in the table dialect) of an enqueue op.
struct EnqueueInput {
  // Sample indices [nnz] or [nnz, rank], or row splits; unused by kInteger.
  ArrayView indices_or_splits;
  ArrayView ids;      // [nnz], int32 or int64
  ArrayView weights;  // [nnz] or [0]: all 1
};

// Which enqueue op the inputs came from; each has its own rules for them.
enum class EnqueueForm {
  kInteger,       // EnqueueTPUEmbeddingIntegerBatch
  kSparse,        // EnqueueTPUEmbeddingSparseBatch
  kSparseTensor,  // EnqueueTPUEmbeddingSparseTensorBatch
  kRagged,        // EnqueueTPUEmbeddingRaggedTensorBatch
  kArbitrary,     // EnqueueTPUEmbeddingArbitraryTensorBatch
};

struct EnqueueRequest {
  EnqueueForm form = EnqueueForm::kArbitrary;
  Span<const EnqueueInput> inputs;
  // The op's attributes; empty where it has none or the default stands.
  Span<const Combiner> combiners;
  Span<const int64_t> table_ids;
  Span<const int64_t> max_sequence_lengths;
  Span<const int64_t> num_features;
};

// The ids of one feature, owned.
struct FeatureBatch {
  int64_t num_positions = 0;
  std::vector<int64_t> offsets;
  std::vector<int64_t> ids;
  std::vector<float> weights;
  std::vector<float> scales;
  int64_t negative_ids_pruned = 0;

  PooledIds view() const {
    return {num_positions, offsets, ids, weights, scales};
  }

  // Empty again, with the memory it has.
  void Clear() {
    num_positions = 0;
    offsets.clear();
    ids.clear();
    weights.clear();
    scales.clear();
    negative_ids_pruned = 0;
  }
};

// One step's ids of one core: a FeatureBatch per feature of the config.
struct Batch {
  Mode mode = Mode::kTraining;  // never kUnspecified
  std::vector<FeatureBatch> features;
};

struct BatchOptions {
  // Drop negative ids, as TensorFlow's serving path does, instead of refusing
  // them.
  bool prune_negative_ids = false;
};

// Checks the whole request against the populated config and copies it. Every
// error names the input, its feature and table, the bad value and the range.
// batch: gets the copy in the memory it has; undefined after an error.
// table_ns: one per table, gets the time spent on it; or empty.
Status BuildBatch(const EngineConfig& config, const EnqueueRequest& request,
                  Mode mode, const BatchOptions& options, Batch& batch,
                  Span<TimeCounter> table_ns = {});

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_BATCH_H_
