#ifndef TF_EMBED_TF_EMBED_SERVING_WEIGHT_GRADIENTS_H_
#define TF_EMBED_TF_EMBED_SERVING_WEIGHT_GRADIENTS_H_

#include <cstdint>

#include "tf_embed/base/executor.h"
#include "tf_embed/serving/feature_ids.h"

namespace tf_embed {

// What the weights of a feature get of the gradient of its activations. With
// d_j = <row of id j, gradient of its position p>, s the scale of p and
// m = s * sum over the ids of p of w_j * d_j:
//
//   sum:   out[entry of j] = d_j
//   mean:  out[entry of j] = s * (d_j - m)
//   sqrtn: out[entry of j] = s * (d_j - s * w_j * m)
//
//   ids:      grouped, with weights
//   table:    [V, dim]
//   gradient: [P, dim]
//   out:      [N]; entries that were left out are not written
void WeightGradients(const FeatureIds& ids, Combiner combiner,
                     const float* table, int64_t dim, const float* gradient,
                     float* out, Executor& executor);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_SERVING_WEIGHT_GRADIENTS_H_
