#ifndef TF_EMBED_TF_EMBED_ENGINE_COMBINE_H_
#define TF_EMBED_TF_EMBED_ENGINE_COMBINE_H_

#include "tf_embed/base/span.h"
#include "tf_embed/engine/batch.h"

namespace tf_embed {

// Turns combiners into coefficients: on return, the weights and scales of
// `batch` are such that PooledIds' c_j is, for the ids j = 1..n of a position
// with weights w_j (1 where there are none),
//
//   kSum    w_j
//   kMean   w_j / sum_k w_k
//   kSqrtn  w_j / sqrt(sum_k w_k^2)
//
// and 0 where the denominator is 0. Denominators are summed in double.
// Position p has the combiner combiners[p mod combiners.size()].
void ApplyCombiners(Span<const Combiner> combiners, FeatureBatch& batch);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_COMBINE_H_
