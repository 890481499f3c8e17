// The loop of the contract, one table after the other: sort, sum, update.

#include "tf_embed/lookup/sparse_update.h"

#include <algorithm>
#include <cstdint>
#include <vector>

namespace tf_embed {
namespace {

struct Contribution {
  int64_t id;
  const float* gradient;
  float coefficient;
};

}  // namespace

struct SparseUpdateScratch::Impl {
  std::vector<Contribution> contributions;
  std::vector<float> gradient;
};

SparseUpdateScratch::SparseUpdateScratch() : impl_(new Impl) {}
SparseUpdateScratch::~SparseUpdateScratch() = default;

void SparseUpdate(Span<TableUpdate> updates, SparseUpdateScratch& scratch,
                  Executor& /*executor*/) {
  std::vector<Contribution>& all = scratch.impl()->contributions;
  std::vector<float>& g = scratch.impl()->gradient;
  for (TableUpdate& update : updates) {
    const TableView& table = update.table;
    all.clear();
    for (const GradientSource& source : update.sources) {
      const PooledIds& ids = source.ids;
      for (int64_t p = 0; p < ids.num_positions; ++p) {
        for (int64_t j = ids.begin(p); j < ids.end(p); ++j) {
          const float w = ids.weights.empty() ? 1.0f : ids.weights[j];
          const float s = ids.scales.empty() ? 1.0f : ids.scales[p];
          all.push_back({ids.ids[j], source.gradients + p * table.dim, w * s});
        }
      }
    }
    std::stable_sort(all.begin(), all.end(),
                     [](const Contribution& a, const Contribution& b) {
                       return a.id < b.id;
                     });
    update.rows_touched = 0;
    const bool every_row = update.optimizer->UpdatesUntouchedRows();
    size_t next = 0;
    for (int64_t row = 0; every_row ? row < table.rows : next < all.size();
         ++row) {
      if (!every_row) row = all[next].id;
      g.assign(table.dim, 0.0f);
      const size_t first = next;
      for (; next < all.size() && all[next].id == row; ++next) {
        for (int64_t k = 0; k < table.dim; ++k) {
          g[k] += all[next].coefficient * all[next].gradient[k];
        }
      }
      if (next > first) ++update.rows_touched;
      float* slots[kMaxSlots];
      for (size_t s = 0; s < table.slots.size(); ++s) {
        slots[s] = table.slots[s] + row * table.dim;
      }
      update.optimizer->UpdateRow(update.scalars, g.data(),
                                  table.weights + row * table.dim, slots,
                                  table.dim);
    }
  }
}

}  // namespace tf_embed
