#include "tf_embed/lookup/workload.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace tf_embed {
namespace {

// Draws ranks in [0, rows) with probability proportional to (rank + 1)^-1.05.
class ZipfRanks {
 public:
  explicit ZipfRanks(int64_t rows) : cumulative_(rows) {
    double sum = 0;
    for (int64_t i = 0; i < rows; ++i) {
      sum += std::pow(static_cast<double>(i + 1), -1.05);
      cumulative_[i] = sum;
    }
  }

  int64_t Draw(std::mt19937_64& rng) const {
    // Not std::uniform_real_distribution, which differs between libraries.
    const double u = static_cast<double>(rng() >> 11) * 0x1p-53;
    const auto it = std::upper_bound(cumulative_.begin(), cumulative_.end(),
                                     u * cumulative_.back());
    return std::min<int64_t>(it - cumulative_.begin(), cumulative_.size() - 1);
  }

 private:
  std::vector<double> cumulative_;
};

// An odd multiplier near rows / golden ratio that has no factor in common with
// rows: rank -> rank * multiplier % rows visits each row once.
int64_t ScatterMultiplier(int64_t rows) {
  int64_t multiplier = static_cast<int64_t>(rows * 0.6180339887) | 1;
  while (std::gcd(multiplier, rows) != 1) multiplier += 2;
  return multiplier;
}

}  // namespace

WorkloadSpec W1() { return {"W1", 26, 100000, 64, 2048}; }

WorkloadSpec W2Mean() {
  WorkloadSpec spec{"W2_mean", 8, 1000000, 64, 2048, 1, 39};
  spec.mean = true;
  return spec;
}

WorkloadSpec W2Weighted() {
  WorkloadSpec spec{"W2_weighted", 8, 1000000, 64, 2048, 1, 39};
  spec.weighted = true;
  return spec;
}

WorkloadSpec W3(int64_t batch) {
  return {"W3_batch" + std::to_string(batch), 3, 100000, 32, batch, 10, 10};
}

PooledIds WorkloadBag::View(int64_t batch) const {
  PooledIds view;
  view.num_positions = batch;
  view.offsets = offsets;
  view.ids = ids;
  view.weights = weights;
  view.scales = scales;
  return view;
}

std::vector<WorkloadBatch> MakeBatches(const WorkloadSpec& spec,
                                       IdDistribution distribution,
                                       int num_batches, uint64_t seed) {
  std::mt19937_64 rng(seed);
  const bool zipf = distribution == IdDistribution::kZipf;
  const ZipfRanks ranks(zipf ? spec.rows : 1);
  const int64_t multiplier = ScatterMultiplier(spec.rows);
  std::vector<WorkloadBatch> batches(num_batches);
  for (WorkloadBatch& batch : batches) {
    batch.resize(spec.num_tables);
    for (WorkloadBag& bag : batch) {
      const bool one_id = spec.min_bag == 1 && spec.max_bag == 1;
      if (!one_id) bag.offsets.push_back(0);
      for (int64_t p = 0; p < spec.batch; ++p) {
        const int64_t size =
            spec.min_bag +
            static_cast<int64_t>(rng() % (spec.max_bag - spec.min_bag + 1));
        for (int64_t j = 0; j < size; ++j) {
          bag.ids.push_back(zipf ? ranks.Draw(rng) * multiplier % spec.rows
                                 : static_cast<int64_t>(rng() % spec.rows));
          if (spec.weighted) {
            bag.weights.push_back(0.5f +
                                  static_cast<float>(rng() >> 40) * 0x1p-24f);
          }
        }
        if (!one_id) bag.offsets.push_back(bag.ids.size());
        if (spec.mean) bag.scales.push_back(1.0f / static_cast<float>(size));
      }
    }
  }
  return batches;
}

int64_t NumIds(const WorkloadBatch& batch) {
  int64_t num_ids = 0;
  for (const WorkloadBag& bag : batch) num_ids += bag.ids.size();
  return num_ids;
}

}  // namespace tf_embed
