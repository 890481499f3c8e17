#ifndef TF_EMBED_TF_EMBED_ENGINE_TABLE_INPUT_H_
#define TF_EMBED_TF_EMBED_ENGINE_TABLE_INPUT_H_

#include <cstdint>

#include "tf_embed/base/status.h"
#include "tf_embed/engine/enqueue_input.h"
#include "tf_embed/engine/group_by_position.h"

namespace tf_embed {

// The slots that an input takes in each example of its table: activations of a
// table are [B, num_features, D], an input's are [B, slot..slot+width, D].
struct Slots {
  int64_t first = 0;
  int64_t width = 1;
  bool is_sequence = false;  // slot first + s is for element s of the sequence

  // Samples of the input in one example, each combined into a slot.
  int64_t samples() const { return is_sequence ? 1 : width; }
};

// Places the ids of one input of an op in the table dialect, by form:
//
//   kInteger       id k is at position k
//   kSparse        sample index k is the position: b * num_features + slot
//   kSparseTensor  sample indices [nnz] or [nnz, 2]: sample, element of the
//                  sequence; without indices, id k is sample k
//   kRagged        row k is sample k
//
// Sample r of an input with m of them an example is at example r / m, slot
// first + r % m. Elements of a sequence past its width are dropped.
// num_negative: ids pruned.
Status PlaceTableInput(EnqueueForm form, const InputContext& context,
                       const Slots& slots, PlacedIds& placed,
                       int64_t* num_negative);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_TABLE_INPUT_H_
