#ifndef TF_EMBED_TF_EMBED_ENGINE_ENQUEUE_INPUT_H_
#define TF_EMBED_TF_EMBED_ENGINE_ENQUEUE_INPUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tf_embed/base/status.h"
#include "tf_embed/engine/batch.h"

namespace tf_embed {

// One input of an enqueue op with what it belongs to. The functions below
// check and read its arrays; every message begins with Label().
struct InputContext {
  const EngineConfig& config;
  const EnqueueInput& input;
  size_t index;  // among the op's inputs
  int table_id;
  int feature = -1;  // index into config.features; -1: the input is a table's
  bool prune_negative_ids = false;

  const TableConfig& table() const { return config.tables[table_id]; }
  std::string Label() const;  // "input 3 (feature 'f', table 't')"
  int64_t num_ids() const { return input.ids.num_elements(); }
  // An array that was not given has rank 0.
  bool has_weights() const {
    return input.weights.rank() == 1 && input.weights.shape[0] > 0;
  }
};

// Calls fn(const T* data), T int32_t or int64_t, as the array's type says.
template <typename Fn>
auto VisitIntegers(const ArrayView& array, Fn&& fn) {
  if (array.type == ArrayView::Type::kInt64) {
    return fn(static_cast<const int64_t*>(array.data));
  }
  return fn(static_cast<const int32_t*>(array.data));
}

// Types and ranks of ids and weights, their lengths, and every id's range.
// num_negative: the ids to prune; 0 unless pruning is on.
Status CheckIdsAndWeights(const InputContext& context, int64_t* num_negative);

// The row splits as offsets; checks that there are `ids` ids behind them.
Status ReadRowSplits(const InputContext& context,
                     std::vector<int64_t>& offsets);

// Elements [0, n) appended, converted.
void AppendIds(const ArrayView& ids, std::vector<int64_t>& out);
void AppendWeights(const ArrayView& weights, std::vector<float>& out);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_ENQUEUE_INPUT_H_
