// The EnqueueTPUEmbedding*Batch ops and their Dynamic forms: everything is
// checked and copied into the queue of one core; nothing is looked up yet.

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "kernels/engine_setup.h"
#include "kernels/kernel_registration.h"
#include "kernels/op_attrs.h"
#include "kernels/status_bridge.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tf_embed/engine/batch.h"
#include "tf_embed/engine/engine.h"
#include "tsl/platform/denormal.h"
#include "tsl/profiler/lib/traceme.h"
#include "tsl/profiler/lib/traceme_encode.h"

namespace tf_embed {
namespace {

using ::tensorflow::DataType;
using ::tensorflow::OpKernel;
using ::tensorflow::OpKernelConstruction;
using ::tensorflow::OpKernelContext;
using ::tensorflow::Tensor;

// What one op's signature has; see the table of kernels below.
struct Signature {
  EnqueueForm form;
  bool has_combiners;
  bool has_table_ids;     // and max_sequence_lengths, num_features
  bool ordinal_is_input;  // else an attribute
};

constexpr Signature kInteger{EnqueueForm::kInteger, false, false, false};
constexpr Signature kSparse{EnqueueForm::kSparse, true, false, false};
constexpr Signature kSparseTensor{EnqueueForm::kSparseTensor, true, true,
                                  false};
constexpr Signature kRagged{EnqueueForm::kRagged, true, true, false};
constexpr Signature kArbitrary{EnqueueForm::kArbitrary, true, false, false};
constexpr Signature kDynamicRagged{EnqueueForm::kRagged, true, true, true};
constexpr Signature kDynamicArbitrary{EnqueueForm::kArbitrary, true, false,
                                      true};

StatusOr<Combiner> CombinerOf(const std::string& name) {
  if (name == "sum") return Combiner::kSum;
  if (name == "mean") return Combiner::kMean;
  if (name == "sqrtn") return Combiner::kSqrtn;
  return InvalidArgument(
      "Invalid combiner: only \"sum\", \"mean\", and \"sqrtn\" are supported. "
      "Got \"",
      name, "\"");
}

StatusOr<Mode> ModeOf(const std::string& override) {
  if (override == "unspecified") return Mode::kUnspecified;
  // The op's documentation says "training"; TensorFlow's Python sends "train".
  if (override == "train" || override == "training") return Mode::kTraining;
  if (override == "inference") return Mode::kInference;
  if (override == "backward_pass_only") return Mode::kBackwardPassOnly;
  return InvalidArgument(
      "Unsupported value ", override,
      " specified for mode_override. Use one of unspecified, train, training, "
      "inference, backward_pass_only");
}

// -1 is a placeholder that a graph pass replaces by the replica's core. Where
// no pass did, it can only mean the one core there is.
StatusOr<int> CoreOf(int device_ordinal, const EngineConfig& config) {
  const int num_cores = config.num_tensor_cores;
  if (device_ordinal == -1) {
    if (num_cores == 1) return 0;
    return InvalidArgument(
        "device_ordinal is -1, but the TPU embedding configuration has "
        "num_tensor_cores = ",
        num_cores, "; say which core in [0, ", num_cores, ") the batch is for");
  }
  if (device_ordinal < 0 || device_ordinal >= num_cores) {
    return InvalidArgument("device_ordinal ", device_ordinal,
                           " is outside [0, ", num_cores,
                           "), the cores of the TPU embedding configuration");
  }
  return device_ordinal;
}

ArrayView::Type TypeOf(DataType type) {
  switch (type) {
    case tensorflow::DT_INT64:
      return ArrayView::Type::kInt64;
    case tensorflow::DT_FLOAT:
      return ArrayView::Type::kFloat32;
    case tensorflow::DT_DOUBLE:
      return ArrayView::Type::kFloat64;
    default:  // The op definitions allow nothing else.
      return ArrayView::Type::kInt32;
  }
}

// Views of tensors, with the storage of their shapes.
class ArrayViews {
 public:
  explicit ArrayViews(int capacity) { shapes_.reserve(capacity); }

  ArrayView Of(const Tensor& tensor) {
    const auto sizes = tensor.shape().dim_sizes();
    shapes_.emplace_back(sizes.begin(), sizes.end());
    const auto& shape = shapes_.back();
    return {TypeOf(tensor.dtype()), tensor.data(),
            Span<const int64_t>(shape.data(), shape.size())};
  }

 private:
  // Never grows beyond its capacity: the views point into it.
  std::vector<absl::InlinedVector<int64_t, 4>> shapes_;
};

class EnqueueOp : public OpKernel {
 public:
  EnqueueOp(OpKernelConstruction* ctx, const Signature& signature)
      : OpKernel(ctx), signature_(signature) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("N", &num_inputs_));
    if (!signature_.ordinal_is_input) {
      OP_REQUIRES_OK(ctx, ctx->GetAttr("device_ordinal", &device_ordinal_));
    }
    if (signature_.has_combiners) {
      std::vector<std::string> names;
      OP_REQUIRES_OK(ctx, ctx->GetAttr("combiners", &names));
      for (const std::string& name : names) {
        const StatusOr<Combiner> combiner = CombinerOf(name);
        OP_REQUIRES_OK(ctx, ToAbsl(combiner.status()));
        combiners_.push_back(*combiner);
      }
    }
    if (signature_.has_table_ids) {
      OP_REQUIRES_OK(ctx, ctx->GetAttr("table_ids", &table_ids_));
      OP_REQUIRES_OK(
          ctx, ctx->GetAttr("max_sequence_lengths", &max_sequence_lengths_));
      OP_REQUIRES_OK(ctx, ctx->GetAttr("num_features", &num_features_));
    }
  }

  void Compute(OpKernelContext* ctx) override {
    const StatusOr<std::shared_ptr<Engine>> engine = RequireEngine();
    OP_REQUIRES_OK(ctx, ToAbsl(engine.status()));

    const int mode_index = num_lists() * num_inputs_;
    std::string mode_override;
    OP_REQUIRES_OK(
        ctx, ReadScalar(ctx, mode_index, "mode_override", &mode_override));
    const StatusOr<Mode> mode = ModeOf(mode_override);
    OP_REQUIRES_OK(ctx, ToAbsl(mode.status()));

    int device_ordinal = device_ordinal_;
    if (signature_.ordinal_is_input) {
      OP_REQUIRES_OK(ctx, ReadScalar(ctx, mode_index + 1, "device_ordinal",
                                     &device_ordinal));
    }
    const StatusOr<int> core = CoreOf(device_ordinal, (*engine)->config());
    OP_REQUIRES_OK(ctx, ToAbsl(core.status()));

    ::tsl::profiler::TraceMe trace([&] {
      return ::tsl::profiler::TraceMeEncode("TfEmbedEnqueue",
                                            {{"core", *core}});
    });
    // The bits must not depend on the thread; see TfExecutor.
    const tsl::port::ScopedDontFlushDenormal exact;
    ArrayViews views(num_lists() * num_inputs_);
    std::vector<EnqueueInput> inputs(num_inputs_);
    for (int i = 0; i < num_inputs_; ++i) {
      if (signature_.form == EnqueueForm::kInteger) {
        inputs[i].ids = views.Of(ctx->input(i));
        continue;
      }
      inputs[i].indices_or_splits = views.Of(ctx->input(i));
      inputs[i].ids = views.Of(ctx->input(num_inputs_ + i));
      inputs[i].weights = views.Of(ctx->input(2 * num_inputs_ + i));
    }
    EnqueueRequest request;
    request.form = signature_.form;
    request.inputs = inputs;
    request.combiners = combiners_;
    request.table_ids = table_ids_;
    request.max_sequence_lengths = max_sequence_lengths_;
    request.num_features = num_features_;
    OP_REQUIRES_OK(ctx, ToAbsl((*engine)->Enqueue(*core, *mode, request)));
  }

 private:
  // Lists of tensors before mode_override.
  int num_lists() const {
    return signature_.form == EnqueueForm::kInteger ? 1 : 3;
  }

  const Signature signature_;
  int num_inputs_ = 0;
  int device_ordinal_ = -1;
  std::vector<Combiner> combiners_;
  std::vector<int64_t> table_ids_;
  std::vector<int64_t> max_sequence_lengths_;
  std::vector<int64_t> num_features_;
};

template <const Signature& signature>
OpKernel* CreateEnqueue(OpKernelConstruction* ctx) {
  return new EnqueueOp(ctx, signature);
}

// Each of its strings is a serialized dist_belief.SparseFeatures, a message
// whose definition is not public.
class EnqueueTPUEmbeddingBatchOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    ctx->SetStatus(absl::UnimplementedError(
        "EnqueueTPUEmbeddingBatch takes dist_belief.SparseFeatures messages, "
        "whose definition is not public; use "
        "EnqueueTPUEmbeddingArbitraryTensorBatch or another Enqueue op"));
  }

  bool IsExpensive() override { return false; }
};

const KernelTable kernels({
    {"EnqueueTPUEmbeddingIntegerBatch", CreateEnqueue<kInteger>},
    {"EnqueueTPUEmbeddingBatch", Create<EnqueueTPUEmbeddingBatchOp>},
    {"EnqueueTPUEmbeddingSparseBatch", CreateEnqueue<kSparse>},
    {"EnqueueTPUEmbeddingSparseTensorBatch", CreateEnqueue<kSparseTensor>},
    {"EnqueueTPUEmbeddingRaggedTensorBatch", CreateEnqueue<kRagged>},
    {"EnqueueTPUEmbeddingArbitraryTensorBatch", CreateEnqueue<kArbitrary>},
    {"DynamicEnqueueTPUEmbeddingRaggedTensorBatch",
     CreateEnqueue<kDynamicRagged>},
    {"DynamicEnqueueTPUEmbeddingArbitraryTensorBatch",
     CreateEnqueue<kDynamicArbitrary>},
});

}  // namespace
}  // namespace tf_embed
