#ifndef TF_EMBED_TF_EMBED_LOOKUP_SPARSE_UPDATE_REF_H_
#define TF_EMBED_TF_EMBED_LOOKUP_SPARSE_UPDATE_REF_H_

#include <cmath>
#include <cstdint>
#include <map>
#include <vector>

#include "tf_embed/lookup/sparse_update.h"

namespace tf_embed {

// The gradient of one row: its value in double precision, and how large the
// terms are that rounding errors are proportional to.
struct RowGradientRef {
  std::vector<double> value;
  std::vector<double> sum_of_magnitudes;
  int64_t num_terms = 0;
};

// The gradients of all rows that have a contribution.
inline std::map<int64_t, RowGradientRef> AccumulateRef(
    const TableUpdate& update) {
  const int64_t dim = update.table.dim;
  std::map<int64_t, RowGradientRef> rows;
  for (const GradientSource& source : update.sources) {
    const PooledIds& ids = source.ids;
    for (int64_t p = 0; p < ids.num_positions; ++p) {
      for (int64_t j = ids.begin(p); j < ids.end(p); ++j) {
        RowGradientRef& row = rows[ids.ids[j]];
        row.value.resize(dim);
        row.sum_of_magnitudes.resize(dim);
        ++row.num_terms;
        const double c = (ids.weights.empty() ? 1.0 : ids.weights[j]) *
                         (ids.scales.empty() ? 1.0 : ids.scales[p]);
        for (int64_t k = 0; k < dim; ++k) {
          const double term = c * source.gradients[p * dim + k];
          row.value[k] += term;
          row.sum_of_magnitudes[k] += std::fabs(term);
        }
      }
    }
  }
  return rows;
}

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_LOOKUP_SPARSE_UPDATE_REF_H_
