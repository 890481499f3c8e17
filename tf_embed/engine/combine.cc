#include "tf_embed/engine/combine.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace tf_embed {
namespace {

// Walks the combiners in a circle; the division of `p mod n` would cost more
// than the rest of the loop.
class CombinerCursor {
 public:
  explicit CombinerCursor(Span<const Combiner> combiners)
      : combiners_(combiners) {}
  Combiner Next() {
    const Combiner combiner = combiners_[next_];
    if (++next_ == combiners_.size()) next_ = 0;
    return combiner;
  }

 private:
  Span<const Combiner> combiners_;
  size_t next_ = 0;
};

void ApplyUnweighted(Span<const Combiner> combiners, FeatureBatch& batch) {
  if (batch.offsets.empty()) return;  // one id, coefficient 1
  batch.scales.resize(batch.num_positions);
  CombinerCursor cursor(combiners);
  bool needed = false;
  for (int64_t p = 0; p < batch.num_positions; ++p) {
    const Combiner combiner = cursor.Next();
    const int64_t n = batch.offsets[p + 1] - batch.offsets[p];
    if (n <= 1 || combiner == Combiner::kSum) {
      batch.scales[p] = 1.0f;
      continue;
    }
    const double denominator = static_cast<double>(n);
    batch.scales[p] = static_cast<float>(1.0 / (combiner == Combiner::kMean
                                                    ? denominator
                                                    : std::sqrt(denominator)));
    needed = true;
  }
  if (!needed) batch.scales.clear();
}

double Denominator(Combiner combiner, const float* weights, int64_t n) {
  double sum = 0;
  if (combiner == Combiner::kMean) {
    for (int64_t j = 0; j < n; ++j) sum += weights[j];
    return sum;
  }
  for (int64_t j = 0; j < n; ++j) {
    sum += static_cast<double>(weights[j]) * weights[j];
  }
  return std::sqrt(sum);
}

void ApplyWeighted(Span<const Combiner> combiners, FeatureBatch& batch) {
  batch.scales.resize(batch.num_positions);
  CombinerCursor cursor(combiners);
  for (int64_t p = 0; p < batch.num_positions; ++p) {
    const Combiner combiner = cursor.Next();
    const int64_t begin = batch.offsets.empty() ? p : batch.offsets[p];
    const int64_t end = batch.offsets.empty() ? p + 1 : batch.offsets[p + 1];
    batch.scales[p] = 1.0f;
    if (combiner == Combiner::kSum || begin == end) continue;
    float* weights = batch.weights.data() + begin;
    const double denominator = Denominator(combiner, weights, end - begin);
    if (denominator == 0) {
      batch.scales[p] = 0.0f;
      continue;
    }
    const float scale = static_cast<float>(1.0 / denominator);
    if (end - begin > 1 && std::isfinite(scale) &&
        std::abs(scale) >= std::numeric_limits<float>::min()) {
      batch.scales[p] = scale;
      continue;
    }
    // One id comes out exact this way, and the quotients exist where the
    // reciprocal overflows or loses digits.
    for (int64_t j = 0; j < end - begin; ++j) {
      weights[j] = static_cast<float>(weights[j] / denominator);
    }
  }
}

}  // namespace

void ApplyCombiners(Span<const Combiner> combiners, FeatureBatch& batch) {
  if (std::all_of(batch.weights.begin(), batch.weights.end(),
                  [](float weight) { return weight == 1.0f; })) {
    batch.weights.clear();  // unweighted lookups and updates are faster
  }
  if (std::all_of(combiners.begin(), combiners.end(), [](Combiner combiner) {
        return combiner == Combiner::kSum;
      })) {
    return;
  }
  if (batch.weights.empty()) {
    ApplyUnweighted(combiners, batch);
  } else {
    ApplyWeighted(combiners, batch);
  }
}

}  // namespace tf_embed
