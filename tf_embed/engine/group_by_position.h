#ifndef TF_EMBED_TF_EMBED_ENGINE_GROUP_BY_POSITION_H_
#define TF_EMBED_TF_EMBED_ENGINE_GROUP_BY_POSITION_H_

#include <cstdint>
#include <vector>

#include "tf_embed/base/span.h"
#include "tf_embed/engine/batch.h"

namespace tf_embed {

// Ids of one input whose positions are known.
struct PlacedIds {
  static constexpr int32_t kDropped = -1;

  const EnqueueInput* input = nullptr;
  std::vector<int32_t> positions;  // one per id, in [0, P) or kDropped
  bool use_weights = false;        // else the weights count as 1
};

// Takes negative ids out, for BatchOptions::prune_negative_ids.
void DropNegativeIds(PlacedIds& placed);

// Sorts the ids of all parts by position, keeping the order of equal ones, into
// offsets, ids and weights of `out`. out.num_positions must be set.
void GroupByPosition(Span<const PlacedIds> parts, FeatureBatch& out);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_GROUP_BY_POSITION_H_
