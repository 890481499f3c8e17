#include "kernels/fused/features.h"

#include <map>

#include "absl/container/inlined_vector.h"
#include "kernels/status_bridge.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/partial_tensor_shape.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor_shape.h"

namespace tf_embed {
namespace {

using ::tensorflow::OpKernelConstruction;
using ::tensorflow::OpKernelContext;
using ::tensorflow::PartialTensorShape;
using ::tensorflow::Tensor;
using ::tensorflow::TensorShape;

// Below this many ids in all, grouping feature by feature in one thread takes
// less than waking another.
constexpr int64_t kMinIdsForThreads = 8192;

template <typename Value>
Status Find(const char* attr, const std::map<std::string, Value>& values,
            const std::string& name, Value* value) {
  const auto found = values.find(name);
  if (found == values.end()) {
    return InvalidArgument(attr, " has the unknown element '", name, "'");
  }
  *value = found->second;
  return OkStatus();
}

const std::map<std::string, FeatureForm>& Forms() {
  static const auto* const kForms = new std::map<std::string, FeatureForm>{
      {"dense", FeatureForm::kDense},
      {"sparse", FeatureForm::kSparse},
      {"sparse_safe", FeatureForm::kSparseSafe},
      {"sparse_sequence", FeatureForm::kSparseSequence},
      {"ragged", FeatureForm::kRagged},
      {"ragged_sequence", FeatureForm::kRaggedSequence}};
  return *kForms;
}

const std::map<std::string, Combiner>& Combiners() {
  static const auto* const kCombiners =
      new std::map<std::string, Combiner>{{"sum", Combiner::kSum},
                                          {"mean", Combiner::kMean},
                                          {"sqrtn", Combiner::kSqrtn}};
  return *kCombiners;
}

ArrayView ViewOf(const Tensor& tensor) {
  ArrayView view;
  switch (tensor.dtype()) {
    case tensorflow::DT_INT64:
      view.type = ArrayView::Type::kInt64;
      break;
    case tensorflow::DT_INT32:
      view.type = ArrayView::Type::kInt32;
      break;
    default:
      view.type = ArrayView::Type::kFloat32;
  }
  view.data = tensor.data();
  return view;
}

// An ArrayView of a tensor, with the sizes it points to.
struct InputView {
  InputView() = default;
  explicit InputView(const Tensor& tensor) : view(ViewOf(tensor)) {
    for (int i = 0; i < tensor.dims(); ++i) sizes.push_back(tensor.dim_size(i));
  }
  ArrayView get() const {
    ArrayView result = view;
    result.shape = {sizes.data(), sizes.size()};
    return result;
  }
  ArrayView view;
  absl::InlinedVector<int64_t, 4> sizes;
};

}  // namespace

absl::Status FusedFeatures::Init(OpKernelConstruction* ctx, int first_input) {
  std::vector<PartialTensorShape> table_shapes;
  std::vector<int> tables, sequence_lengths;
  std::vector<std::string> names, forms, combiners;
  std::vector<bool> weighted, have_splits;
  TF_RETURN_IF_ERROR(ctx->GetAttr("table_shapes", &table_shapes));
  TF_RETURN_IF_ERROR(ctx->GetAttr("feature_tables", &tables));
  TF_RETURN_IF_ERROR(ctx->GetAttr("feature_names", &names));
  TF_RETURN_IF_ERROR(ctx->GetAttr("forms", &forms));
  TF_RETURN_IF_ERROR(ctx->GetAttr("combiners", &combiners));
  TF_RETURN_IF_ERROR(ctx->GetAttr("sequence_lengths", &sequence_lengths));
  TF_RETURN_IF_ERROR(ctx->GetAttr("weighted", &weighted));
  TF_RETURN_IF_ERROR(ctx->GetAttr("weights_have_splits", &have_splits));
  int num_features = 0, num_sparse = 0, num_weighted = 0;
  TF_RETURN_IF_ERROR(ctx->GetAttr("num_features", &num_features));
  TF_RETURN_IF_ERROR(ctx->GetAttr("num_sparse", &num_sparse));
  TF_RETURN_IF_ERROR(ctx->GetAttr("num_weighted", &num_weighted));
  std::vector<tensorflow::DataType> id_types, indices_types, splits_types;
  TF_RETURN_IF_ERROR(ctx->GetAttr("Tids", &id_types));
  TF_RETURN_IF_ERROR(ctx->GetAttr("Tindices", &indices_types));
  TF_RETURN_IF_ERROR(ctx->GetAttr("Tweight_splits", &splits_types));

  const size_t size = num_features;
  if (id_types.size() != size || tables.size() != size ||
      names.size() != size || forms.size() != size ||
      combiners.size() != size || sequence_lengths.size() != size ||
      weighted.size() != size || have_splits.size() != size) {
    return ToAbsl(
        InvalidArgument("attributes that describe features must have ", size,
                        " elements, one a feature"));
  }
  for (size_t i = 0; i < table_shapes.size(); ++i) {
    const PartialTensorShape& shape = table_shapes[i];
    if (shape.dims() != 2 || shape.dim_size(1) < 1) {
      return ToAbsl(InvalidArgument("table_shapes[", i, "] is ",
                                    shape.DebugString(),
                                    ", but must be [rows, dim]"));
    }
    table_rows_.push_back(shape.dim_size(0));
    table_dims_.push_back(shape.dim_size(1));
  }

  // The lists of inputs, one behind the other.
  const int ids_begin = first_input;
  const int indices_begin = ids_begin + num_features;
  const int shapes_begin =
      indices_begin + static_cast<int>(indices_types.size());
  const int weights_begin = shapes_begin + num_sparse;
  const int splits_begin = weights_begin + num_weighted;
  end_input_ = splits_begin + static_cast<int>(splits_types.size());
  int indices = indices_begin, shapes = shapes_begin, weights = weights_begin,
      splits = splits_begin;
  features_.resize(size);
  for (size_t i = 0; i < size; ++i) {
    Feature& feature = features_[i];
    feature.spec.name = names[i];
    TF_RETURN_IF_ERROR(
        ToAbsl(Find("forms", Forms(), forms[i], &feature.spec.form)));
    TF_RETURN_IF_ERROR(ToAbsl(
        Find("combiners", Combiners(), combiners[i], &feature.spec.combiner)));
    feature.spec.sequence_length = sequence_lengths[i];
    if (sequence_lengths[i] < 0) {
      return ToAbsl(InvalidArgument(
          "sequence_lengths[", i, "] = ", sequence_lengths[i], " is negative"));
    }
    feature.table = tables[i];
    if (tables[i] < 0 || tables[i] >= num_tables()) {
      return ToAbsl(InvalidArgument("feature_tables[", i, "] = ", tables[i],
                                    " is not in [0, ", num_tables(), ")"));
    }
    feature.ids = ids_begin + static_cast<int>(i);
    if (feature.spec.form != FeatureForm::kDense) feature.indices = indices++;
    if (feature.spec.sparse()) feature.dense_shape = shapes++;
    if (weighted[i]) {
      feature.weighted = weights - weights_begin;
      feature.weights = weights++;
    }
    if (have_splits[i]) feature.weight_splits = splits++;
  }
  if (indices != shapes_begin || shapes != weights_begin ||
      weights != splits_begin || splits != end_input_) {
    return ToAbsl(InvalidArgument(
        "the lists of inputs do not fit the features: ", indices_types.size(),
        " indices, ", num_sparse, " dense_shapes, ", num_weighted, " weights, ",
        splits_types.size(), " weight_splits"));
  }
  return absl::OkStatus();
}

absl::Status FusedFeatures::GroupOne(OpKernelContext* ctx, int feature,
                                     int64_t table_rows,
                                     FeatureIds& ids) const {
  const Feature& f = features_[feature];
  const InputView id_view(ctx->input(f.ids));
  if (f.spec.form != FeatureForm::kDense && id_view.sizes.size() != 1) {
    return ToAbsl(InvalidArgument("ids of feature '", f.spec.name,
                                  "' must be a vector, not of rank ",
                                  id_view.sizes.size()));
  }
  InputView indices, weights, weight_splits;
  FeatureInput input;
  input.ids = id_view.get();
  if (f.indices >= 0) {
    indices = InputView(ctx->input(f.indices));
    input.indices_or_splits = indices.get();
  }
  if (f.dense_shape >= 0) {
    const Tensor& shape = ctx->input(f.dense_shape);
    input.dense_shape = {static_cast<const int64_t*>(shape.data()),
                         static_cast<size_t>(shape.NumElements())};
  }
  if (f.weights >= 0) {
    input.weighted = true;
    weights = InputView(ctx->input(f.weights));
    input.weights = weights.get();
  }
  if (f.weight_splits >= 0) {
    weight_splits = InputView(ctx->input(f.weight_splits));
    input.weight_splits = weight_splits.get();
  }
  return ToAbsl(ids.Group(f.spec, input, table_rows));
}

absl::Status FusedFeatures::Group(OpKernelContext* ctx,
                                  Span<const int64_t> table_rows,
                                  Executor& executor,
                                  std::vector<FeatureIds>& ids) const {
  // Never fewer: what is there keeps its memory for a call with more features.
  if (ids.size() < features_.size()) ids.resize(features_.size());
  int64_t num_ids = 0;
  for (const Feature& feature : features_) {
    num_ids += ctx->input(feature.ids).NumElements();
  }
  if (num_ids < kMinIdsForThreads || num_features() == 1) {
    for (int i = 0; i < num_features(); ++i) {
      TF_RETURN_IF_ERROR(
          GroupOne(ctx, i, table_rows[features_[i].table], ids[i]));
    }
    return absl::OkStatus();
  }
  std::vector<absl::Status> statuses(features_.size());
  executor.ParallelFor(num_features(), [&](int64_t i) {
    statuses[i] = GroupOne(ctx, i, table_rows[features_[i].table], ids[i]);
  });
  for (const absl::Status& status : statuses) TF_RETURN_IF_ERROR(status);
  return absl::OkStatus();
}

absl::Status FusedFeatures::OutputShape(int feature, const FeatureIds& ids,
                                        TensorShape* shape) const {
  for (int64_t size : ids.position_shape()) {
    TF_RETURN_IF_ERROR(shape->AddDimWithStatus(size));
  }
  return shape->AddDimWithStatus(table_dims_[features_[feature].table]);
}

absl::Status FusedFeatures::Gradient(OpKernelContext* ctx, int feature,
                                     const FeatureIds& ids,
                                     const float** gradient) const {
  const Tensor& tensor = ctx->input(end_input_ + feature);
  TensorShape shape;
  TF_RETURN_IF_ERROR(OutputShape(feature, ids, &shape));
  if (tensor.shape() != shape) {
    // Not "feature": where a table gets its whole gradient it is the table.
    return ToAbsl(InvalidArgument("gradient of '", name(feature),
                                  "' has shape ", tensor.shape().DebugString(),
                                  ", must have ", shape.DebugString()));
  }
  *gradient = static_cast<const float*>(tensor.data());
  return absl::OkStatus();
}

}  // namespace tf_embed
