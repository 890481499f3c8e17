#ifndef TF_EMBED_KERNELS_FUSED_FEATURES_H_
#define TF_EMBED_KERNELS_FUSED_FEATURES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tf_embed/base/executor.h"
#include "tf_embed/base/span.h"
#include "tf_embed/serving/feature_ids.h"

namespace tensorflow {
class OpKernelConstruction;
class OpKernelContext;
class Tensor;
class TensorShape;
}  // namespace tensorflow

namespace tf_embed {

// The features of a fused lookup op: its attributes, and where the tensors of
// each feature stand among its inputs.
class FusedFeatures {
 public:
  struct Feature {
    FeatureSpec spec;
    int table = 0;
    // Inputs of the op; -1: the feature has none.
    int ids = -1;
    int indices = -1;
    int dense_shape = -1;
    int weights = -1;
    int weight_splits = -1;
    int weighted = -1;
  };

  // Reads the attributes. `first_input` is the index of the first id tensor.
  absl::Status Init(tensorflow::OpKernelConstruction* ctx, int first_input);

  const Feature& feature(int i) const { return features_[i]; }
  int num_features() const { return static_cast<int>(features_.size()); }
  int num_tables() const { return static_cast<int>(table_dims_.size()); }
  int table_of(int feature) const { return features_[feature].table; }
  int64_t table_rows(int table) const { return table_rows_[table]; }
  int64_t table_dim(int table) const { return table_dims_[table]; }
  const std::string& name(int feature) const {
    return features_[feature].spec.name;
  }
  // Index of the feature among those with weights; -1: it has none.
  int weights_of(int feature) const { return features_[feature].weighted; }

  int weights_input(int feature) const { return features_[feature].weights; }
  Combiner combiner(int feature) const {
    return features_[feature].spec.combiner;
  }

  // Index of the first input after those of the features.
  int end_input() const { return end_input_; }

  // Checks the tensors of all features against tables of `table_rows` rows and
  // groups their ids: ids[i] for feature i. Further elements stay as they are.
  absl::Status Group(tensorflow::OpKernelContext* ctx,
                     Span<const int64_t> table_rows, Executor& executor,
                     std::vector<FeatureIds>& ids) const;

  // Shape of the activations of a feature.
  absl::Status OutputShape(int feature, const FeatureIds& ids,
                           tensorflow::TensorShape* shape) const;

  // The gradient of a feature's activations, an input of the op, which must
  // have their shape.
  absl::Status Gradient(tensorflow::OpKernelContext* ctx, int feature,
                        const FeatureIds& ids, const float** gradient) const;

 private:
  absl::Status GroupOne(tensorflow::OpKernelContext* ctx, int feature,
                        int64_t table_rows, FeatureIds& ids) const;

  std::vector<Feature> features_;
  std::vector<int64_t> table_rows_;  // -1 where unknown
  std::vector<int64_t> table_dims_;
  int end_input_ = 0;
};

}  // namespace tf_embed

#endif  // TF_EMBED_KERNELS_FUSED_FEATURES_H_
