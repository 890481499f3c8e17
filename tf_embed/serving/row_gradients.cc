#include "tf_embed/serving/row_gradients.h"

#include <algorithm>

#include "tf_embed/optimizers/optimizer.h"

namespace tf_embed {
namespace {

constexpr int64_t kEmpty = -1;

// Keeps the gradient itself: SparseUpdate then is a sum by row.
class KeepGradient final : public Optimizer {
 public:
  const char* name() const override { return "KeepGradient"; }
  Span<const SlotSpec> slots() const override { return {}; }
  void UpdateRows(const StepScalars&, const RowBlock& block) const override {
    for (int64_t i = 0; i < block.num_rows; ++i) {
      const float* const gradient = block.gradients[i];
      const float scale = block.scales[i];
      float* const out = block.weights + block.rows[i] * block.dim;
      for (int64_t k = 0; k < block.dim; ++k) out[k] = scale * gradient[k];
    }
  }
};

}  // namespace

int64_t RowGradients::IndexOf(int64_t id) {
  // Fibonacci hashing; the ids of real features are often consecutive.
  const uint64_t mask = buckets_.size() - 1;
  uint64_t bucket = (static_cast<uint64_t>(id) * 0x9E3779B97F4A7C15u) >> shift_;
  for (;; bucket = (bucket + 1) & mask) {
    const int64_t index = buckets_[bucket];
    if (index == kEmpty) {
      buckets_[bucket] = rows_.size();
      rows_.push_back(id);
      return rows_.size() - 1;
    }
    if (rows_[index] == id) return index;
  }
}

void RowGradients::FindRows(Span<const GradientSource> sources) {
  sources_.assign(sources.begin(), sources.end());
  rows_.clear();
  renumbered_.resize(std::max(renumbered_.size(), sources.size()));
  size_t num_ids = 0;
  for (const GradientSource& source : sources) num_ids += source.ids.ids.size();
  int bits = 4;
  while ((size_t{1} << bits) < 2 * num_ids) ++bits;
  buckets_.assign(size_t{1} << bits, kEmpty);
  shift_ = 64 - bits;
  for (size_t s = 0; s < sources.size(); ++s) {
    const Span<const int64_t> ids = sources[s].ids.ids;
    std::vector<int64_t>& renumbered = renumbered_[s];
    renumbered.resize(ids.size());
    for (size_t i = 0; i < ids.size(); ++i) renumbered[i] = IndexOf(ids[i]);
    sources_[s].ids.ids = renumbered;
  }
}

void RowGradients::Sum(int64_t dim, float* out, Executor& executor) {
  static const KeepGradient kKeepGradient;
  TableUpdate update;
  update.table.rows = rows_.size();
  update.table.dim = dim;
  update.table.weights = out;
  update.optimizer = &kKeepGradient;
  update.sources = sources_;
  SparseUpdate({&update, 1}, scratch_, executor);
}

}  // namespace tf_embed
