#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "benchmarks/core/system.h"
#include "tf_embed/base/aligned_buffer.h"
#include "tf_embed/base/prefetch.h"
#include "tf_embed/base/thread_pool.h"
#include "tf_embed/lookup/memory_bandwidth.h"
#include "tf_embed/optimizers/optimizer.h"

namespace tf_embed {
namespace {

// Rows ahead that are prefetched: the best for W1 and W2 on Zen 4.
constexpr int64_t kFar = 32;
constexpr int64_t kNear = 4;

// As many rows as a batch has ids, from as much memory as the tables take.
RowPattern PatternOf(const Inputs& inputs) {
  int64_t ids = 0;
  for (const BatchInput& batch : inputs.batches) ids += batch.ids.size();
  ids /= std::max<int64_t>(inputs.batches.size(), 1);
  const int64_t row_bytes = inputs.dim * sizeof(float);
  return RowPattern{row_bytes, inputs.tables * inputs.rows * row_bytes,
                    /*rows_per_table=*/std::max<int64_t>(ids, 1),
                    std::max<int64_t>(ids / inputs.threads, 1)};
}

class MemorySystem : public System {
 public:
  explicit MemorySystem(const Inputs& inputs)
      : dim_(inputs.dim),
        threads_(inputs.threads),
        gradients_(inputs.gradients),
        reader_(PatternOf(inputs), inputs.threads),
        pool_(inputs.threads) {}

  Status Init(const Inputs& inputs) {
    if (inputs.optimizer.params.index() == 0) return OkStatus();  // none
    TF_EMBED_ASSIGN_OR_RETURN(const std::unique_ptr<const Optimizer> optimizer,
                              Optimizer::Create(inputs.optimizer));
    const int64_t size = inputs.tables * inputs.rows * dim_;
    for (size_t i = 0; i < 1 + optimizer->slots().size(); ++i) {
      TF_EMBED_ASSIGN_OR_RETURN(AlignedBuffer variable,
                                AlignedBuffer::Create(size));
      std::fill(variable.data(), variable.data() + size, 1.0f);
      data_.push_back(variable.data());
      variables_.push_back(std::move(variable));
    }
    for (const BatchInput& batch : inputs.batches) {
      updates_.push_back(UniqueRows(inputs, batch));
    }
    return OkStatus();
  }

  Status Forward(int) override {
    reader_.Bandwidth();
    return OkStatus();
  }

  Status Step(int b) override {
    reader_.Bandwidth();
    const std::vector<Update>& updates = updates_[b];
    const int64_t n = updates.size();
    pool_.ParallelFor(threads_, [&](int64_t i) {
      const int64_t begin = n * i / threads_, end = n * (i + 1) / threads_;
      if (dim_ == 64) {
        ReadAndWrite<64>(updates, begin, end);
      } else {
        ReadAndWrite<0>(updates, begin, end);
      }
    });
    return OkStatus();
  }

  Span<const float> outputs() const override { return {}; }

 private:
  struct Update {
    int64_t row;       // of all tables, one after the other
    int64_t gradient;  // of one of its ids
  };

  // In the order of the rows, as a sort by id would leave them.
  static std::vector<Update> UniqueRows(const Inputs& inputs,
                                        const BatchInput& batch) {
    std::vector<Update> updates;
    for (int64_t t = 0; t < inputs.tables; ++t) {
      const Span<const int64_t> ids = inputs.ids(batch, t);
      const std::vector<int64_t> splits = inputs.splits(batch, t);
      for (int64_t bag = 0; bag < inputs.batch; ++bag) {
        for (int64_t j = splits[bag]; j < splits[bag + 1]; ++j) {
          updates.push_back({t * inputs.rows + ids[j], t * inputs.batch + bag});
        }
      }
    }
    const auto less = [](const Update& a, const Update& b) {
      return a.row < b.row;
    };
    const auto equal = [](const Update& a, const Update& b) {
      return a.row == b.row;
    };
    std::stable_sort(updates.begin(), updates.end(), less);
    updates.erase(std::unique(updates.begin(), updates.end(), equal),
                  updates.end());
    return updates;
  }

  // kDim is the width where the compiler may know it, or 0.
  template <int64_t kDim>
  void ReadAndWrite(const std::vector<Update>& updates, int64_t begin,
                    int64_t end) {
    const int64_t dim = kDim > 0 ? kDim : dim_;
    const size_t row_bytes = dim * sizeof(float);
    const int64_t last = updates.size() - 1;
    const float* const gradients = gradients_.data();
    for (int64_t u = begin; u < end; ++u) {
      const Update& far = updates[std::min(u + kFar, last)];
      const Update& near = updates[std::min(u + kNear, last)];
      const float* __restrict const gradient =
          gradients + updates[u].gradient * dim;
      PrefetchRow<ToLevel2>(gradients + far.gradient * dim, row_bytes);
      for (float* const variable : data_) {
        PrefetchRow<ToLevel2>(variable + far.row * dim, row_bytes);
        PrefetchRow<ToWrite>(variable + near.row * dim, row_bytes);
        float* __restrict const row = variable + updates[u].row * dim;
#pragma GCC ivdep
        for (int64_t d = 0; d < dim; ++d) row[d] += gradient[d];
      }
    }
  }

  const int64_t dim_;
  const int threads_;
  const std::vector<float>& gradients_;
  RandomRowReader reader_;
  ThreadPool pool_;
  std::vector<AlignedBuffer> variables_;      // weights, then slot variables
  std::vector<float*> data_;                  // of variables_
  std::vector<std::vector<Update>> updates_;  // of each batch
};

}  // namespace

StatusOr<std::unique_ptr<System>> MakeMemorySystem(const Inputs& inputs) {
  auto system = std::make_unique<MemorySystem>(inputs);
  TF_EMBED_RETURN_IF_ERROR(system->Init(inputs));
  return std::unique_ptr<System>(std::move(system));
}

}  // namespace tf_embed
