#include "tf_embed/serving/weight_gradients.h"

#include <algorithm>

namespace tf_embed {
namespace {

constexpr int64_t kPositionsPerPiece = 64;

float Dot(const float* a, const float* b, int64_t dim) {
  float sum = 0;
  for (int64_t k = 0; k < dim; ++k) sum += a[k] * b[k];
  return sum;
}

}  // namespace

void WeightGradients(const FeatureIds& ids, Combiner combiner,
                     const float* table, int64_t dim, const float* gradient,
                     float* out, Executor& executor) {
  const PooledIds& pooled = ids.pooled();
  const Span<const int64_t> entries = ids.entries();
  const auto position = [&](int64_t p) {
    const float* g = gradient + p * dim;
    const int64_t begin = pooled.offsets[p], end = pooled.offsets[p + 1];
    const float scale = pooled.scales.empty() ? 1.0f : pooled.scales[p];
    const auto entry = [&](int64_t j) {
      return entries.empty() ? j : entries[j];
    };
    float mean = 0;
    for (int64_t j = begin; j < end; ++j) {
      const float dot = Dot(table + pooled.ids[j] * dim, g, dim);
      out[entry(j)] = dot;
      mean += pooled.weights[j] * dot;
    }
    if (combiner == Combiner::kSum) return;
    mean *= scale;
    for (int64_t j = begin; j < end; ++j) {
      const float share =
          combiner == Combiner::kMean ? 1.0f : scale * pooled.weights[j];
      float& value = out[entry(j)];
      value = scale * (value - share * mean);
    }
  };
  const int64_t pieces =
      (pooled.num_positions + kPositionsPerPiece - 1) / kPositionsPerPiece;
  executor.ParallelFor(pieces, [&](int64_t piece) {
    const int64_t begin = piece * kPositionsPerPiece;
    const int64_t end =
        std::min(begin + kPositionsPerPiece, pooled.num_positions);
    for (int64_t p = begin; p < end; ++p) position(p);
  });
}

}  // namespace tf_embed
