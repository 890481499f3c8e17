#include <string>
#include <vector>

#include "kernels/status_bridge.h"
#include "tensorflow/core/framework/common_shape_fns.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/partial_tensor_shape.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace tf_embed {
namespace {

using ::tensorflow::shape_inference::DimensionHandle;
using ::tensorflow::shape_inference::InferenceContext;
using ::tensorflow::shape_inference::ShapeHandle;

// Where the lists that shapes depend on begin among the op's inputs.
struct InputLists {
  int ids = 0, indices = 0, dense_shapes = 0;
};

bool IsRagged(const std::string& form) {
  return form == "ragged" || form == "ragged_sequence";
}

bool IsSparse(const std::string& form) {
  return form == "sparse" || form == "sparse_safe" || form == "sparse_sequence";
}

// InvalidArgument where the lists are not as long as the forms ask for.
absl::Status FindInputLists(InferenceContext* c,
                            const std::vector<std::string>& forms,
                            InputLists* lists) {
  size_t num_sparse = 0, num_ragged = 0;
  for (const std::string& form : forms) {
    if (form != "dense" && !IsRagged(form) && !IsSparse(form)) {
      return ToAbsl(
          InvalidArgument("forms has the unknown element '", form, "'"));
    }
    num_sparse += IsSparse(form);
    num_ragged += IsRagged(form);
  }
  const struct {
    const char* name;
    size_t size;
    int* begin;
  } kLists[] = {{"ids", forms.size(), &lists->ids},
                {"indices", num_sparse + num_ragged, &lists->indices},
                {"dense_shapes", num_sparse, &lists->dense_shapes}};
  std::vector<ShapeHandle> inputs;
  TF_RETURN_IF_ERROR(c->input("tables", &inputs));
  int begin = inputs.size();
  for (const auto& list : kLists) {
    TF_RETURN_IF_ERROR(c->input(list.name, &inputs));
    if (inputs.size() != list.size) {
      return ToAbsl(InvalidArgument("the forms need ", list.size, " ",
                                    list.name, ", not ", inputs.size()));
    }
    *list.begin = begin;
    begin += inputs.size();
  }
  return absl::OkStatus();
}

// Leading axes of a sparse feature's output: those of dense_shape but the last.
absl::Status SparsePositions(InferenceContext* c, int input, ShapeHandle* out) {
  ShapeHandle dense;
  TF_RETURN_IF_ERROR(c->MakeShapeFromShapeTensor(input, &dense));
  if (!c->RankKnown(dense)) {
    *out = c->UnknownShape();
    return absl::OkStatus();
  }
  if (c->Rank(dense) < 1)
    return ToAbsl(InvalidArgument("a sparse feature is a scalar"));
  return c->Subshape(dense, 0, -1, out);
}

absl::Status FusedLookupShape(InferenceContext* c) {
  std::vector<std::string> forms;
  std::vector<int> feature_tables, sequence_lengths;
  std::vector<tensorflow::PartialTensorShape> table_shapes;
  TF_RETURN_IF_ERROR(c->GetAttr("forms", &forms));
  TF_RETURN_IF_ERROR(c->GetAttr("feature_tables", &feature_tables));
  TF_RETURN_IF_ERROR(c->GetAttr("sequence_lengths", &sequence_lengths));
  TF_RETURN_IF_ERROR(c->GetAttr("table_shapes", &table_shapes));
  const size_t num_features = c->num_outputs();
  if (forms.size() != num_features || feature_tables.size() != num_features ||
      sequence_lengths.size() != num_features) {
    return ToAbsl(
        InvalidArgument("attributes that describe features must have ",
                        num_features, " elements, one a feature"));
  }
  InputLists lists;
  TF_RETURN_IF_ERROR(FindInputLists(c, forms, &lists));
  for (size_t i = 0; i < num_features; ++i) {
    const int table = feature_tables[i];
    if (table < 0 || table >= static_cast<int>(table_shapes.size()) ||
        table_shapes[table].dims() != 2) {
      return ToAbsl(InvalidArgument("feature_tables[", i, "] = ", table,
                                    " names no table of rank 2"));
    }
    if (sequence_lengths[i] < 0) {
      return ToAbsl(InvalidArgument(
          "sequence_lengths[", i, "] = ", sequence_lengths[i], " is negative"));
    }
    const int64_t dim = table_shapes[table].dim_size(1);
    const ShapeHandle row =
        c->Vector(dim < 0 ? c->UnknownDim() : c->MakeDim(dim));
    const std::string& form = forms[i];
    ShapeHandle positions;
    if (form == "dense") {
      positions = c->input(lists.ids + i);
    } else if (IsRagged(form)) {
      ShapeHandle splits;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(lists.indices++), 1, &splits));
      DimensionHandle rows;
      TF_RETURN_IF_ERROR(c->Subtract(c->Dim(splits, 0), 1, &rows));
      positions = form == "ragged" ? c->Vector(rows)
                                   : c->Matrix(rows, sequence_lengths[i]);
    } else {
      ++lists.indices;
      TF_RETURN_IF_ERROR(SparsePositions(c, lists.dense_shapes++, &positions));
      if (form == "sparse") {
        positions = c->Vector(c->UnknownDim());
      } else if (form == "sparse_sequence") {
        positions = c->Matrix(
            c->RankKnown(positions) ? c->Dim(positions, 0) : c->UnknownDim(),
            sequence_lengths[i]);
      }
    }
    ShapeHandle output;
    TF_RETURN_IF_ERROR(c->Concatenate(positions, row, &output));
    c->set_output(i, output);
  }
  return absl::OkStatus();
}

absl::Status FusedLookupGradShape(InferenceContext* c) {
  std::vector<tensorflow::PartialTensorShape> table_shapes;
  TF_RETURN_IF_ERROR(c->GetAttr("table_shapes", &table_shapes));
  const int num_tables = table_shapes.size();
  if (c->num_outputs() != 2 * num_tables) {
    return ToAbsl(
        InvalidArgument("table_shapes must have num_tables elements"));
  }
  for (int i = 0; i < num_tables; ++i) {
    const DimensionHandle rows = c->UnknownDim();
    const int64_t dim =
        table_shapes[i].dims() == 2 ? table_shapes[i].dim_size(1) : -1;
    c->set_output(i, c->Vector(rows));
    c->set_output(num_tables + i,
                  c->Matrix(rows, dim < 0 ? c->UnknownDim() : c->MakeDim(dim)));
  }
  return absl::OkStatus();
}

absl::Status WeightsGradShape(InferenceContext* c) {
  std::vector<ShapeHandle> weights;
  TF_RETURN_IF_ERROR(c->input("weights", &weights));
  return c->set_output("weight_gradients", weights);
}

// What the three ops that look at the features' ids have in common.
#define TF_EMBED_FEATURE_INPUTS                  \
  Input("ids: Tids")                             \
      .Input("indices: Tindices")                \
      .Input("dense_shapes: num_sparse * int64") \
      .Input("weights: num_weighted * float")    \
      .Input("weight_splits: Tweight_splits")

#define TF_EMBED_FEATURE_ATTRS                           \
  Attr("Tids: list({int32, int64}) >= 1")                \
      .Attr("Tindices: list({int32, int64}) >= 0")       \
      .Attr("num_sparse: int >= 0")                      \
      .Attr("num_weighted: int >= 0")                    \
      .Attr("Tweight_splits: list({int32, int64}) >= 0") \
      .Attr("table_shapes: list(shape)")                 \
      .Attr("feature_tables: list(int)")                 \
      .Attr("feature_names: list(string)")               \
      .Attr("forms: list(string)")                       \
      .Attr("combiners: list(string)")                   \
      .Attr("sequence_lengths: list(int)")               \
      .Attr("weighted: list(bool)")                      \
      .Attr("weights_have_splits: list(bool)")

REGISTER_OP("TfEmbed>FusedEmbeddingLookup")
    .Input("tables: Ttables")
    .TF_EMBED_FEATURE_INPUTS.Output("activations: num_features * float")
    .Attr("Ttables: list({resource, float, bfloat16, half, uint8}) >= 1")
    .Attr("num_features: int >= 1")
    .TF_EMBED_FEATURE_ATTRS
    // An attribute with a default: models that know none still load.
    .Attr("table_formats: list(string) = []")
    // Variables change between two calls with the same inputs.
    .SetIsStateful()
    .SetShapeFn(FusedLookupShape)
    .Doc(R"doc(
Looks up and combines the ids of many features in one kernel.

Feature i reads table feature_tables[i]. Its form says how ids become positions
of the output; "dense" as tf.nn.embedding_lookup, "sparse" as
tf.nn.embedding_lookup_sparse, "sparse_safe" as
tf.nn.safe_embedding_lookup_sparse, "ragged" combined by row; "sparse_sequence"
and "ragged_sequence" give each id a position of its own, sequence_lengths[i] of
them a row, longer rows cut and shorter ones padded with zeros. The lists
`indices`, `dense_shapes`, `weights` and `weight_splits` have an entry for those
features only that need one, in the order of the features.

tables: Resource variables, read in place, or tensors; [V, D], or [V, bytes] of
  uint8 where table_formats says int8 or int4.
ids: Per feature; [N], any shape where dense.
indices: Per sparse feature [N, rank], per ragged feature row splits [rows + 1].
dense_shapes: Per sparse feature [rank].
weights: Per weighted feature [N].
weight_splits: Row splits of the weights of ragged features, where they are
  not known to be those of the ids.
activations: Per feature [positions..., D], float32 whatever the tables are.
table_shapes: [V, D] of each table.
table_formats: "float32", "bfloat16", "float16", "int8" or "int4" of each table;
  none: all are float32. A row of int8 is D codes of a byte, one of int4 holds
  two codes a byte, the first in the low half; float32 scale and bias follow,
  and a number is scale * code + bias. Only float32 tables have gradients.
feature_names: For error messages.
combiners: "sum", "mean" or "sqrtn" of each feature.
sequence_lengths: Of the sequence forms; else 0.
weighted: Whether the feature has weights.
weights_have_splits: Whether the feature has an entry in weight_splits.
)doc");

REGISTER_OP("TfEmbed>FusedEmbeddingLookupGrad")
    .TF_EMBED_FEATURE_INPUTS.Input("gradients: num_features * float")
    .Output("rows: num_tables * int64")
    .Output("row_gradients: num_tables * float")
    .Attr("num_features: int >= 1")
    .Attr("num_tables: int >= 1")
    .TF_EMBED_FEATURE_ATTRS.SetShapeFn(FusedLookupGradShape)
    .Doc(R"doc(
Gradients of FusedEmbeddingLookup with respect to its tables.

gradients: Per feature, shaped like its activations.
rows: Per table the rows that were looked up, each once, in the order of their
  first appearance.
row_gradients: Per table the summed gradient of each of these rows, [rows, D].
)doc");

REGISTER_OP("TfEmbed>FusedEmbeddingLookupWeightsGrad")
    .Input("tables: Ttables")
    .TF_EMBED_FEATURE_INPUTS.Input("gradients: num_features * float")
    .Output("weight_gradients: num_weighted * float")
    .Attr("Ttables: list({resource, float}) >= 1")
    .Attr("num_features: int >= 1")
    .TF_EMBED_FEATURE_ATTRS.SetIsStateful()
    .SetShapeFn(WeightsGradShape)
    .Doc(R"doc(
Gradients of FusedEmbeddingLookup with respect to its weights.

gradients: Per feature, shaped like its activations.
weight_gradients: Per weighted feature [N]; 0 for an entry that was left out.
)doc");

REGISTER_OP("TfEmbed>FusedEmbeddingUpdate")
    .Input("tables: num_tables * resource")
    .Input("slots: num_slots * resource")
    .TF_EMBED_FEATURE_INPUTS.Input("gradients: num_features * float")
    .Input("learning_rates: num_tables * float")
    .Attr("config: string")
    .Attr("num_tables: int >= 1")
    .Attr("num_slots: int >= 0")
    .Attr("num_features: int >= 1")
    .TF_EMBED_FEATURE_ATTRS.SetIsStateful()
    .SetShapeFn(tensorflow::shape_inference::NoOutputs)
    .Doc(R"doc(
One optimizer step of the tables behind FusedEmbeddingLookup, in place.

The gradients of each row that was looked up are summed in a fixed order, and
the row and its slot variables are updated once.

slots: Slot variables of each table, in the order in which its Load op takes
  them; tables one after the other.
gradients: Per feature, shaped like its activations.
learning_rates: Per table; used where its optimizer has a dynamic one.
config: Serialized TPUEmbeddingConfiguration, of which the tables'
  optimization parameters count.
)doc");

}  // namespace
}  // namespace tf_embed
