#ifndef TF_EMBED_TF_EMBED_LOOKUP_POOLED_LOOKUP_REF_H_
#define TF_EMBED_TF_EMBED_LOOKUP_POOLED_LOOKUP_REF_H_

#include <cmath>
#include <cstdint>
#include <vector>

#include "tf_embed/lookup/pooled_lookup.h"
#include "tf_embed/lookup/row_format_ref.h"

namespace tf_embed {

// What the lookup of one output element must give, and how large the terms are
// that rounding errors are proportional to.
struct LookupElementRef {
  double value = 0;
  double sum_of_magnitudes = 0;
  int64_t num_terms = 0;
};

inline double QuantizeRef(double x, const SimulatedQuantization& q) {
  const double lower = *q.lower;
  const double upper = *q.upper;
  // In float, as the table's values are: which bucket an element falls into is
  // decided by these roundings.
  const float quantum =
      (*q.upper - *q.lower) / static_cast<float>(q.num_buckets - 1);
  x = x < lower ? lower : x > upper ? upper : x;
  const float bucket =
      std::floor((static_cast<float>(x) - *q.lower) / quantum + 0.5f);
  return static_cast<double>(bucket) * quantum + lower;
}

// The contract's loop in double precision: elements [P, D].
template <typename Id>
std::vector<LookupElementRef> PooledLookupRef(const BasicLookupTask<Id>& task) {
  const BasicPooledIds<Id>& ids = task.ids;
  std::vector<LookupElementRef> output(ids.num_positions * task.dim);
  for (int64_t p = 0; p < ids.num_positions; ++p) {
    const double scale = ids.scales.empty() ? 1 : ids.scales[p];
    for (int64_t k = 0; k < task.dim; ++k) {
      LookupElementRef& element = output[p * task.dim + k];
      for (int64_t j = ids.begin(p); j < ids.end(p); ++j) {
        RowElementRef x =
            RowElement(task.weights, task.format, task.dim, ids.ids[j], k);
        if (task.quantization) x.code = QuantizeRef(x.code, *task.quantization);
        const double w = scale * (ids.weights.empty() ? 1 : ids.weights[j]);
        element.value += w * (x.scale * x.code + x.bias);
        element.sum_of_magnitudes +=
            std::fabs(w * x.scale * x.code) + std::fabs(w * x.bias);
        ++element.num_terms;
      }
    }
  }
  return output;
}

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_LOOKUP_POOLED_LOOKUP_REF_H_
