#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>
#include <vector>

#include "benchmarks/core/system.h"
#include "tf_embed/base/aligned_buffer.h"
#include "tf_embed/base/thread_pool.h"
#include "tf_embed/lookup/pooled_lookup.h"
#include "tf_embed/lookup/sparse_update.h"
#include "tf_embed/optimizers/optimizer.h"

namespace tf_embed {
namespace {

class KernelSystem final : public System {
 public:
  KernelSystem(const Inputs& inputs, RowFormat format)
      : inputs_(inputs), format_(format), pool_(inputs.threads) {}

  Status Init() {
    // Only rows of float32 can be updated.
    if (format_ == RowFormat::kFloat32 &&
        inputs_.optimizer.params.index() != 0) {
      TF_EMBED_ASSIGN_OR_RETURN(optimizer_,
                                Optimizer::Create(inputs_.optimizer));
    }
    const int64_t table_size = inputs_.rows * inputs_.dim;
    slots_.resize(inputs_.tables);
    for (int64_t t = 0; t < inputs_.tables; ++t) {
      TF_EMBED_ASSIGN_OR_RETURN(AlignedBuffer weights,
                                AlignedBuffer::Create(table_size));
      inputs_.Fill(t, weights.data());
      if (format_ == RowFormat::kInt8) {
        TF_EMBED_ASSIGN_OR_RETURN(weights, Quantized(weights));
      }
      weights_.push_back(std::move(weights));
      if (optimizer_ == nullptr) continue;
      for (const SlotSpec& spec : optimizer_->slots()) {
        TF_EMBED_ASSIGN_OR_RETURN(AlignedBuffer slot,
                                  AlignedBuffer::Create(table_size));
        for (float& value : slot.span()) value = spec.initial_value;
        slots_[t].push_back(slot.data());
        buffers_.push_back(std::move(slot));
      }
    }
    outputs_.resize(inputs_.tables * inputs_.batch * inputs_.dim);
    for (const BatchInput& batch : inputs_.batches) AddBatch(batch);
    return OkStatus();
  }

  Status Forward(int b) override {
    ComputeScales(batches_[b]);
    PooledLookup(batches_[b].tasks, pool_);
    return OkStatus();
  }

  Status Step(int b) override {
    if (optimizer_ == nullptr) return FailedPrecondition("no optimizer");
    TF_EMBED_RETURN_IF_ERROR(Forward(b));
    SparseUpdate(batches_[b].updates, scratch_, pool_);
    return OkStatus();
  }

  Span<const float> outputs() const override { return outputs_; }

 private:
  struct Batch {
    std::vector<std::vector<int64_t>> splits;  // of each table
    std::vector<std::vector<float>> scales;    // of each table
    std::vector<LookupTask> tasks;
    std::vector<GradientSource> sources;
    std::vector<TableUpdate> updates;
  };

  void AddBatch(const BatchInput& input) {
    Batch batch;
    for (int64_t t = 0; t < inputs_.tables; ++t) {
      batch.splits.push_back(inputs_.splits(input, t));
      batch.scales.emplace_back(inputs_.mean ? inputs_.batch : 0);
      PooledIds ids;
      ids.num_positions = inputs_.batch;
      if (!inputs_.one_id) ids.offsets = batch.splits[t];
      ids.ids = inputs_.ids(input, t);
      ids.weights = inputs_.weights(input, t);
      ids.scales = batch.scales[t];
      LookupTask task;
      task.ids = ids;
      task.weights = weights_[t].data();
      task.format = format_;
      task.dim = inputs_.dim;
      task.output = outputs_.data() + t * inputs_.batch * inputs_.dim;
      batch.tasks.push_back(task);
      batch.sources.push_back({ids, inputs_.gradient(t)});
    }
    // The spans of tasks and updates stay valid when vectors are moved.
    for (int64_t t = 0; t < inputs_.tables; ++t) {
      TableUpdate update;
      update.table.rows = inputs_.rows;
      update.table.dim = inputs_.dim;
      update.table.weights = weights_[t].data();
      update.table.slots =
          Span<float* const>(slots_[t].data(), slots_[t].size());
      update.optimizer = optimizer_.get();
      update.scalars.learning_rate = inputs_.optimizer.learning_rate.constant;
      update.sources = Span<const GradientSource>(&batch.sources[t], 1);
      batch.updates.push_back(update);
    }
    batches_.push_back(std::move(batch));
  }

  // The rows in the format kInt8.
  StatusOr<AlignedBuffer> Quantized(const AlignedBuffer& weights) const {
    const int64_t dim = inputs_.dim;
    const int64_t row_bytes = RowBytes(RowFormat::kInt8, dim);
    const int64_t num_floats =
        (inputs_.rows * row_bytes + sizeof(float) - 1) / sizeof(float);
    TF_EMBED_ASSIGN_OR_RETURN(AlignedBuffer result,
                              AlignedBuffer::Create(num_floats));
    for (int64_t i = 0; i < inputs_.rows; ++i) {
      const float* const row = weights.data() + i * dim;
      uint8_t* const codes =
          reinterpret_cast<uint8_t*>(result.data()) + i * row_bytes;
      const auto [low, high] = std::minmax_element(row, row + dim);
      const float scale_bias[2] = {(*high - *low) / 255, *low};
      for (int64_t k = 0; k < dim; ++k) {
        codes[k] = std::lround((row[k] - scale_bias[1]) / scale_bias[0]);
      }
      std::memcpy(codes + dim, scale_bias, sizeof(scale_bias));
    }
    return result;
  }

  // Part of what is timed: the other systems divide by the number of ids too.
  void ComputeScales(Batch& batch) {
    if (!inputs_.mean) return;
    for (int64_t t = 0; t < inputs_.tables; ++t) {
      for (int64_t p = 0; p < inputs_.batch; ++p) {
        batch.scales[t][p] = 1.0f / static_cast<float>(batch.splits[t][p + 1] -
                                                       batch.splits[t][p]);
      }
    }
  }

  const Inputs& inputs_;
  const RowFormat format_;
  ThreadPool pool_;
  std::unique_ptr<const Optimizer> optimizer_;
  std::vector<AlignedBuffer> weights_;
  std::vector<AlignedBuffer> buffers_;      // behind slots_
  std::vector<std::vector<float*>> slots_;  // of each table
  std::vector<float> outputs_;
  std::vector<Batch> batches_;
  SparseUpdateScratch scratch_;
};

}  // namespace

StatusOr<std::unique_ptr<System>> MakeKernelSystem(const Inputs& inputs,
                                                   RowFormat format) {
  auto system = std::make_unique<KernelSystem>(inputs, format);
  TF_EMBED_RETURN_IF_ERROR(system->Init());
  return std::unique_ptr<System>(std::move(system));
}

}  // namespace tf_embed
