#ifndef TF_EMBED_TF_EMBED_ENGINE_ARBITRARY_INPUT_H_
#define TF_EMBED_TF_EMBED_ENGINE_ARBITRARY_INPUT_H_

#include "tf_embed/base/status.h"
#include "tf_embed/engine/batch.h"
#include "tf_embed/engine/enqueue_input.h"

namespace tf_embed {

// An input of EnqueueTPUEmbeddingArbitraryTensorBatch. Its first array says
// what it is, P being the number of positions of the feature:
//
//   [nnz, r]       sparse: rows are coordinates in the feature's input shape
//                  (r - 1 of them; the last column is combined over)
//   [0] or [0, r]  dense: id k is at position k; no id at all is allowed
//   [R + 1]        ragged row splits; R = P: row k combines at position k;
//                  R divides P: id j of row i is at position i * (P / R) + j
//
// Fills in `out` except for the combiner. num_negative: ids pruned.
// combines: whether combiner and weights apply (not to a ragged sequence).
Status BuildArbitraryInput(const InputContext& context, FeatureBatch& out,
                           int64_t* num_negative, bool* combines);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_ARBITRARY_INPUT_H_
