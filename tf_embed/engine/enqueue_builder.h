#ifndef TF_EMBED_TF_EMBED_ENGINE_ENQUEUE_BUILDER_H_
#define TF_EMBED_TF_EMBED_ENGINE_ENQUEUE_BUILDER_H_

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "tf_embed/engine/batch.h"

namespace tf_embed {

// For tests: an EnqueueRequest that owns its arrays. The request points into
// the builder, which must stay where it is.
class EnqueueBuilder {
 public:
  explicit EnqueueBuilder(EnqueueForm form = EnqueueForm::kArbitrary)
      : form_(form) {}
  EnqueueBuilder(const EnqueueBuilder&) = delete;
  EnqueueBuilder& operator=(const EnqueueBuilder&) = delete;

  // Element types of the arrays of the inputs that follow.
  bool indices_are_64_bit = false;
  bool ids_are_64_bit = true;
  bool weights_are_64_bit = false;

  std::vector<Combiner> combiners;
  std::vector<int64_t> table_ids;
  std::vector<int64_t> max_sequence_lengths;
  std::vector<int64_t> num_features;

  EnqueueBuilder& Dense(const std::vector<int64_t>& ids,
                        const std::vector<double>& weights = {}) {
    return Add({}, {0}, ids, weights);
  }
  // coordinates: row by row, [ids, columns].
  EnqueueBuilder& Sparse(const std::vector<int64_t>& coordinates,
                         int64_t columns, const std::vector<int64_t>& ids,
                         const std::vector<double>& weights = {}) {
    return Add(coordinates,
               {static_cast<int64_t>(coordinates.size()) / columns, columns},
               ids, weights);
  }
  // Row splits, or sample indices of rank 1.
  EnqueueBuilder& Ragged(const std::vector<int64_t>& splits,
                         const std::vector<int64_t>& ids,
                         const std::vector<double>& weights = {}) {
    return Add(splits, {static_cast<int64_t>(splits.size())}, ids, weights);
  }
  EnqueueBuilder& Add(const std::vector<int64_t>& first,
                      std::vector<int64_t> first_shape,
                      const std::vector<int64_t>& ids,
                      const std::vector<double>& weights) {
    EnqueueInput input;
    input.indices_or_splits =
        Integers(first, std::move(first_shape), indices_are_64_bit);
    input.ids =
        Integers(ids, {static_cast<int64_t>(ids.size())}, ids_are_64_bit);
    input.weights = Floats(weights);
    inputs_.push_back(input);
    return *this;
  }

  EnqueueInput& input(size_t i) { return inputs_[i]; }

  EnqueueRequest Build() {
    EnqueueRequest request;
    request.form = form_;
    request.inputs = inputs_;
    request.combiners = combiners;
    request.table_ids = table_ids;
    request.max_sequence_lengths = max_sequence_lengths;
    request.num_features = num_features;
    return request;
  }

 private:
  ArrayView Integers(const std::vector<int64_t>& values,
                     std::vector<int64_t> shape, bool wide) {
    ArrayView view;
    view.shape = Keep(shapes_, std::move(shape));
    view.type = wide ? ArrayView::Type::kInt64 : ArrayView::Type::kInt32;
    view.data = wide ? static_cast<const void*>(Keep(int64s_, values).data())
                     : Keep(int32s_, Narrow<int32_t>(values)).data();
    return view;
  }
  ArrayView Floats(const std::vector<double>& values) {
    ArrayView view;
    view.shape = Keep(shapes_, {static_cast<int64_t>(values.size())});
    view.type = weights_are_64_bit ? ArrayView::Type::kFloat64
                                   : ArrayView::Type::kFloat32;
    view.data = weights_are_64_bit
                    ? static_cast<const void*>(Keep(doubles_, values).data())
                    : Keep(floats_, Narrow<float>(values)).data();
    return view;
  }
  template <typename To, typename From>
  static std::vector<To> Narrow(const std::vector<From>& values) {
    std::vector<To> narrow;
    for (From value : values) narrow.push_back(static_cast<To>(value));
    return narrow;
  }
  template <typename T>
  static const std::vector<T>& Keep(std::deque<std::vector<T>>& all,
                                    std::vector<T> values) {
    all.push_back(std::move(values));
    return all.back();
  }

  EnqueueForm form_;
  std::vector<EnqueueInput> inputs_;
  std::deque<std::vector<int64_t>> shapes_;
  std::deque<std::vector<int64_t>> int64s_;
  std::deque<std::vector<int32_t>> int32s_;
  std::deque<std::vector<float>> floats_;
  std::deque<std::vector<double>> doubles_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_ENQUEUE_BUILDER_H_
