#ifndef TF_EMBED_TF_EMBED_SERVING_FEATURE_IDS_H_
#define TF_EMBED_TF_EMBED_SERVING_FEATURE_IDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tf_embed/base/span.h"
#include "tf_embed/base/status.h"
#include "tf_embed/engine/batch.h"
#include "tf_embed/lookup/pooled_ids.h"

namespace tf_embed {

// How the ids of a feature become output positions. Each form follows one path
// of TensorFlow's serving_embedding_lookup, its handling of bad input included.
enum class FeatureForm {
  // tf.nn.embedding_lookup: one position an id, shaped like the ids.
  kDense,
  // tf.nn.embedding_lookup_sparse: combined by the first coordinate, which must
  // not decrease; as many positions as the last entry asks for.
  kSparse,
  // tf.nn.safe_embedding_lookup_sparse: combined over the last coordinate, in
  // any order. Negative ids are left out, and with mean and sqrtn the weights
  // that are not positive.
  kSparseSafe,
  // Entry (b, s) goes to position b * L + s and is left out where s >= L;
  // entries at the same place add up.
  kSparseSequence,
  // Combined by row.
  kRagged,
  // The j-th id of row b goes to position b * L + j; left out where j >= L.
  kRaggedSequence,
};

// What stays the same from call to call.
struct FeatureSpec {
  std::string name;  // for messages only
  FeatureForm form = FeatureForm::kDense;
  Combiner combiner = Combiner::kMean;
  int64_t sequence_length = 0;  // L, of the two sequence forms

  bool sparse() const {
    return form == FeatureForm::kSparse || form == FeatureForm::kSparseSafe ||
           form == FeatureForm::kSparseSequence;
  }
  bool ragged() const {
    return form == FeatureForm::kRagged || form == FeatureForm::kRaggedSequence;
  }
};

// The tensors of one call. Ids, indices and splits are int32 or int64, weights
// float32. What a form has no use for stays empty.
struct FeatureInput {
  ArrayView ids;                    // [N]; any shape where dense
  ArrayView indices_or_splits;      // sparse: [N, rank]; ragged: [rows + 1]
  Span<const int64_t> dense_shape;  // [rank] of a sparse feature
  bool weighted = false;
  ArrayView weights;  // [N]
  // Splits of the weights; data is null where they are the splits of the ids.
  ArrayView weight_splits;
};

// Ids of one feature, checked and grouped by output position. Keeps its memory
// from call to call.
class FeatureIds {
 public:
  // Checks `input` against the spec and a table of `table_rows` rows.
  // InvalidArgument names the feature, and words what TensorFlow would find
  // wrong as TensorFlow does. `input` must outlive what the accessors return.
  Status Group(const FeatureSpec& spec, const FeatureInput& input,
               int64_t table_rows);

  const PooledIds& pooled() const { return pooled_; }

  // Shape of the output without its last axis.
  Span<const int64_t> position_shape() const { return position_shape_; }

  // Positions whose weights sum to 0 under mean or sqrtn: 0 by definition,
  // whatever the rows hold, infinity and NaN included.
  Span<const int64_t> zero_positions() const { return zero_positions_; }

  // Which entry of the input each grouped id is; empty: they are in order and
  // none was left out.
  Span<const int64_t> entries() const { return entries_; }

 private:
  Status GroupDense(const FeatureSpec& spec, const FeatureInput& input,
                    int64_t table_rows);
  Status GroupSparse(const FeatureSpec& spec, const FeatureInput& input,
                     int64_t table_rows);
  Status GroupSparseSafe(const FeatureSpec& spec, const FeatureInput& input,
                         int64_t table_rows);
  Status GroupSparseSequence(const FeatureSpec& spec, const FeatureInput& input,
                             int64_t table_rows);
  Status GroupRagged(const FeatureSpec& spec, const FeatureInput& input,
                     int64_t table_rows);

  // Whether all ids are in [0, table_rows); sets pooled_.ids.
  bool LoadIds(const ArrayView& ids, int64_t table_rows);
  Status LoadSplits(const FeatureSpec& spec, const ArrayView& splits);
  Status LoadWeights(const FeatureSpec& spec, const FeatureInput& input);
  Status SetPositions(const FeatureSpec& spec, int64_t count);

  // Sorts the kept entries by position, stably, leaving out those whose
  // position is kLeftOut.
  void SortByPosition();
  Status CheckGroupedIds(const FeatureSpec& spec, int64_t table_rows,
                         bool empty_positions_ask_for_row_0) const;
  void SetScales(Combiner combiner);

  PooledIds pooled_;
  std::vector<int64_t> position_shape_;
  std::vector<int64_t> zero_positions_;
  std::vector<int64_t> entries_;

  std::vector<int64_t> ids_;
  std::vector<int64_t> offsets_;
  std::vector<int64_t> positions_;
  std::vector<float> weights_;
  std::vector<float> scales_;
  std::vector<int64_t> grouped_ids_;
  std::vector<int64_t> next_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_SERVING_FEATURE_IDS_H_
