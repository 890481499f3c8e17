// The ops of the embedding engine compiled for XLA_TPU_JIT, as on a TPU host,
// with a libtpu whose computations are known. They are plain HLO, so the
// program is then run on the CPU.

#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tensorflow/compiler/tf2xla/xla_compiler.h"
#include "tensorflow/compiler/tf2xla/xla_op_registry.h"
#include "tensorflow/core/framework/function.h"
#include "tensorflow/core/framework/node_def_builder.h"
#include "tensorflow/core/framework/tensor.h"
#include "tensorflow/core/framework/tensor.pb.h"
#include "tensorflow/core/graph/algorithm.h"
#include "tensorflow/core/graph/node_builder.h"
#include "tensorflow/core/protobuf/tpu/tpu_embedding_configuration.pb.h"
#include "tensorflow/core/public/version.h"
#include "tensorflow/core/tpu/tpu_defs.h"
#include "xla/client/client_library.h"
#include "xla/client/local_client.h"
#include "xla/hlo/builder/lib/constants.h"
#include "xla/hlo/builder/xla_builder.h"
#include "xla/literal_util.h"
#include "xla/service/hlo.pb.h"
#include "xla/shape_util.h"
#include "xla/stream_executor/tpu/tpu_api.h"

namespace tf_embed {
namespace {

using ::tensorflow::DataType;
using ::tensorflow::DT_FLOAT;
using ::tensorflow::DT_INT32;
using ::tensorflow::Graph;
using ::tensorflow::Node;
using ::tensorflow::NodeBuilder;
using ::tensorflow::Tensor;
using ::tensorflow::TensorShape;
using ::tensorflow::XlaCompiler;

// TensorFlow's CPU wheel lacks the device. Before any program is compiled.
const bool registered = [] {
  tensorflow::XlaOpRegistry::RegisterBackend(
      tensorflow::DEVICE_TPU_XLA_JIT,
      {DT_FLOAT, DT_INT32, tensorflow::DT_UINT32, tensorflow::DT_VARIANT},
      [](tensorflow::KernelDef*) { return true; });
  return true;
}();

// What the fake libtpu was asked.
struct Asked {
  std::string config;
  std::string topology;
  int num_inputs = 0;
  int num_gradients = 0;
  int num_learning_rates = 0;
  std::vector<int64_t> first_gradient;
  int num_data_parts = 0;
};

Asked& LastAsked() {
  static auto* asked = new Asked;
  return *asked;
}

struct FakeStatus {
  int code = 0;
  std::string message;
};

FakeStatus* AsFake(TF_Status* status) {
  return reinterpret_cast<FakeStatus*>(status);
}

std::string ToString(const TpuSerializedProto& proto) {
  return std::string(proto.bytes, proto.size);
}

// Gives the computation that was built as libtpu does: new[], serialized.
void Answer(xla::XlaBuilder& builder, TpuSerializedProto* answer) {
  const absl::StatusOr<xla::XlaComputation> computation = builder.Build();
  ASSERT_TRUE(computation.ok()) << computation.status();
  const std::string bytes = computation->proto().SerializeAsString();
  char* copy = new char[bytes.size()];
  std::memcpy(copy, bytes.data(), bytes.size());
  *answer = {copy, bytes.size()};
}

const xla::Shape kActivations = xla::ShapeUtil::MakeShape(xla::F32, {2, 3});

// The data are two integers, three floats and one more integer.
xla::Shape DataShape() {
  return xla::ShapeUtil::MakeTupleShape(
      {xla::ShapeUtil::MakeShape(xla::U32, {2}),
       xla::ShapeUtil::MakeShape(xla::F32, {3}),
       xla::ShapeUtil::MakeShape(xla::U32, {1})});
}

void FakeRecvData(
    TpuEmbeddingEngine_RecvTPUEmbeddingDeduplicationDataComputation_Params*
        params) {
  LastAsked().config = ToString(params->tpu_embedding_config);
  LastAsked().topology = ToString(params->tpu_topology);
  xla::XlaBuilder builder("fake_recv_data");
  xla::Tuple(&builder, {xla::ConstantR1<uint32_t>(&builder, {11, 12}),
                        xla::ConstantR1<float>(&builder, {0.5f, 1.5f, 2.5f}),
                        xla::ConstantR1<uint32_t>(&builder, {13})});
  Answer(builder, params->xla_computation);
}

// Each activation is the sum of the data's floats plus its first integer.
void FakeRecvActivations(
    TpuEmbeddingEngine_RecvActivationsComputation_Params* params) {
  LastAsked().num_data_parts = params->deduplication_data_shape->ntuple_shapes;
  xla::XlaBuilder builder("fake_recv_activations");
  const xla::XlaOp data = xla::Parameter(&builder, 0, DataShape(), "data");
  const xla::XlaOp floats = xla::GetTupleElement(data, 1);
  const xla::XlaOp first = xla::ConvertElementType(
      xla::Slice(xla::GetTupleElement(data, 0), {0}, {1}, {1}), xla::F32);
  xla::XlaOp sum = xla::Reshape(first, {});
  for (int64_t i = 0; i < 3; ++i) {
    sum =
        xla::Add(sum, xla::Reshape(xla::Slice(floats, {i}, {i + 1}, {1}), {}));
  }
  xla::Tuple(&builder, {xla::Broadcast(sum, kActivations.dimensions())});
  Answer(builder, params->xla_computation);
}

void FakeSend(
    TpuEmbeddingEngine_SendTPUEmbeddingGradientsComputation_Params* params) {
  Asked& asked = LastAsked();
  const XLA_Shape& gradients = *params->gradient_tuple_shape;
  asked.num_inputs = params->num_inputs;
  asked.num_gradients = gradients.ntuple_shapes;
  asked.num_learning_rates = params->learning_rate_tuple_shape->ntuple_shapes;
  asked.num_data_parts = params->deduplication_data_shape->ntuple_shapes;
  const Int64List& sizes = gradients.tuple_shapes[0].dimensions;
  asked.first_gradient.assign(sizes.inlined, sizes.inlined + sizes.size);
  xla::XlaBuilder builder("fake_send");
  xla::Parameter(&builder, 0, xla::ShapeUtil::MakeTupleShape({kActivations}),
                 "gradients");
  xla::Parameter(
      &builder, 1,
      xla::ShapeUtil::MakeTupleShape({xla::ShapeUtil::MakeShape(xla::F32, {})}),
      "learning_rates");
  xla::Parameter(&builder, 2, DataShape(), "data");
  xla::Tuple(&builder, {});
  Answer(builder, params->xla_computation);
}

void FakeSize(TpuEmbeddingEngine_DedupDataSizeComputation_Params* params) {
  *params->num_elements = 6;
}

void FakeMask(TpuEmbeddingEngine_DedupDataTupleMaskComputation_Params* params) {
  xla::XlaBuilder builder("fake_mask");
  xla::ConstantR2<int32_t>(&builder, {{0, 2}, {1, 3}, {0, 1}});
  Answer(builder, params->xla_computation);
}

void RefuseRecvData(
    TpuEmbeddingEngine_RecvTPUEmbeddingDeduplicationDataComputation_Params*
        params) {
  *AsFake(params->status) = {9, "the TPU system is not initialized"};
}

TfTpu_OpsApiFn& Ops() {
  return *const_cast<TfTpu_OpsApiFn*>(stream_executor::tpu::OpsApiFn());
}

class LibtpuLoweringsTest : public testing::Test {
 protected:
  void SetUp() override {
    TfTpu_ExecutorApiFn& executor = *stream_executor::tpu::ExecutorApiFn();
    executor.TpuStatus_NewFn = [] {
      return reinterpret_cast<TF_Status*>(new FakeStatus);
    };
    executor.TpuStatus_FreeFn = [](TF_Status* status) {
      delete AsFake(status);
    };
    executor.TpuStatus_CodeFn = [](TF_Status* status) {
      return AsFake(status)->code;
    };
    executor.TpuStatus_MessageFn = [](TF_Status* status) {
      return AsFake(status)->message.c_str();
    };
    Ops().TpuEmbeddingEngine_RecvTPUEmbeddingDeduplicationDataComputationFn =
        FakeRecvData;
    Ops().TpuEmbeddingEngine_RecvActivationsComputationFn = FakeRecvActivations;
    Ops().TpuEmbeddingEngine_SendTPUEmbeddingGradientsComputationFn = FakeSend;
    Ops().TpuEmbeddingEngine_DedupDataSizeComputationFn = FakeSize;
    Ops().TpuEmbeddingEngine_DedupDataTupleMaskComputationFn = FakeMask;
    LastAsked() = {};
    graph_ = std::make_unique<Graph>(tensorflow::OpRegistry::Global());

    tensorflow::tpu::TPUEmbeddingConfiguration config;
    config.set_mode(tensorflow::tpu::TPUEmbeddingConfiguration::TRAINING);
    auto* table = config.add_table_descriptor();
    table->set_name("t");
    table->set_vocabulary_size(5);
    table->set_dimension(3);
    table->mutable_optimization_parameters()
        ->mutable_stochastic_gradient_descent();
    table->mutable_optimization_parameters()
        ->mutable_learning_rate()
        ->mutable_dynamic()
        ->set_tag(0);
    auto* feature = config.add_feature_descriptor();
    feature->set_table_id(0);
    feature->add_input_shape(2);
    config_ = config.SerializeAsString();
  }

  // A node builder whose op has the config.
  NodeBuilder Op(const std::string& op) {
    return NodeBuilder(absl::StrCat("n", graph_->num_nodes()), op)
        .Attr("config", config_);
  }

  Node* Add(NodeBuilder builder) {
    Node* node = nullptr;
    const absl::Status status = builder.Finalize(graph_.get(), &node);
    EXPECT_TRUE(status.ok()) << status;
    return node;
  }

  void Return(Node* node, int output, DataType type) {
    Add(NodeBuilder(absl::StrCat("n", graph_->num_nodes()), "_Retval")
            .Input(node, output)
            .Attr("T", type)
            .Attr("index", num_results_++));
  }

  Node* Constant(const Tensor& value) {
    return Add(NodeBuilder(absl::StrCat("n", graph_->num_nodes()), "Const")
                   .Attr("value", value)
                   .Attr("dtype", value.dtype()));
  }

  // Compiles the graph for a TPU.
  absl::Status Compile() {
    tensorflow::FixupSourceAndSinkEdges(graph_.get());
    tensorflow::XlaOpRegistry::RegisterCompilationKernels();
    tensorflow::FunctionLibraryDefinition library(
        tensorflow::OpRegistry::Global(), tensorflow::FunctionDefLibrary());
    XlaCompiler::Options options;
    const tensorflow::DeviceType device(tensorflow::DEVICE_TPU_XLA_JIT);
    options.device_type = device;
    options.client = xla::ClientLibrary::LocalClientOrDie();
    options.flib_def = &library;
    options.graph_def_version = TF_GRAPH_DEF_VERSION;
    XlaCompiler compiler(options);
    return compiler.CompileGraph(XlaCompiler::CompileOptions(), "test",
                                 std::move(graph_), {}, &result_);
  }

  // The results of the program as one literal each.
  std::vector<xla::Literal> Run() {
    absl::StatusOr<xla::Literal> literal =
        xla::ClientLibrary::LocalClientOrDie()->ExecuteAndTransfer(
            *result_.computation, {});
    EXPECT_TRUE(literal.ok()) << literal.status();
    return literal->DecomposeTuple();
  }

  // Whether one of the program's computations is called like that.
  bool HasComputation(const std::string& name) const {
    for (const auto& computation :
         result_.computation->proto().computations()) {
      if (computation.name().find(name) == 0) return true;
    }
    return false;
  }

  std::string config_;
  std::unique_ptr<Graph> graph_;
  int num_results_ = 0;
  XlaCompiler::CompilationResult result_;
};

TEST_F(LibtpuLoweringsTest, RecvAndSendCallTheComputationsOfLibtpu) {
  Node* data = Add(Op("XlaRecvTPUEmbeddingDeduplicationData"));
  Node* activations = Add(
      Op("XlaRecvTPUEmbeddingActivations").Input(data).Attr("num_tables", 1));
  Tensor rate(0.5f);
  Add(Op("XlaSendTPUEmbeddingGradients")
          .Input(std::vector<NodeBuilder::NodeOut>{{activations, 0}})
          .Input(std::vector<NodeBuilder::NodeOut>{{Constant(rate), 0}})
          .Input(data));
  Return(activations, 0, DT_FLOAT);
  ASSERT_TRUE(Compile().ok());
  EXPECT_EQ(LastAsked().config, config_);
  EXPECT_EQ(LastAsked().topology, "");
  EXPECT_EQ(LastAsked().num_inputs, 3);
  EXPECT_EQ(LastAsked().num_gradients, 1);
  EXPECT_EQ(LastAsked().first_gradient, std::vector<int64_t>({2, 3}));
  EXPECT_EQ(LastAsked().num_learning_rates, 1);
  EXPECT_EQ(LastAsked().num_data_parts, 3);
  EXPECT_TRUE(HasComputation("fake_send"));
  const std::vector<xla::Literal> results = Run();
  ASSERT_EQ(results.size(), 1);
  EXPECT_EQ(results[0], xla::LiteralUtil::CreateFullWithDescendingLayout<float>(
                            {2, 3}, 15.5f));
}

TEST_F(LibtpuLoweringsTest, PlainRecvAndSendShareTheirData) {
  Node* activations =
      Add(Op("RecvTPUEmbeddingActivations").Attr("num_outputs", 1));
  Tensor rate(0.5f);
  Add(Op("SendTPUEmbeddingGradients")
          .Input(std::vector<NodeBuilder::NodeOut>{{activations, 0}})
          .Input(std::vector<NodeBuilder::NodeOut>{{Constant(rate), 0}}));
  Return(activations, 0, DT_FLOAT);
  ASSERT_TRUE(Compile().ok());
  EXPECT_TRUE(HasComputation("fake_recv_data"));
  EXPECT_TRUE(HasComputation("fake_recv_activations"));
  EXPECT_TRUE(HasComputation("fake_send"));
  EXPECT_EQ(LastAsked().num_data_parts, 3);
}

TEST_F(LibtpuLoweringsTest, PlainSendWithoutRecvIsRefused) {
  Node* gradient = Constant(Tensor(DT_FLOAT, TensorShape({2, 3})));
  Add(Op("SendTPUEmbeddingGradients")
          .Input(std::vector<NodeBuilder::NodeOut>{{gradient, 0}})
          .Input(
              std::vector<NodeBuilder::NodeOut>{{Constant(Tensor(0.5f)), 0}}));
  const absl::Status status = Compile();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_NE(status.message().find("without a RecvTPUEmbeddingActivations"),
            std::string::npos)
      << status;
}

TEST_F(LibtpuLoweringsTest, V2FormsHandOverTheirAttributes) {
  Node* data = Add(Op("XlaRecvTPUEmbeddingDeduplicationDataV2")
                       .Attr("embedding_partitions", "partitions")
                       .Attr("hbm_buffers_config", "buffers")
                       .Attr("tpu_topology", "topology"));
  Node* activations = Add(Op("XlaRecvTPUEmbeddingActivationsV2")
                              .Input(data)
                              .Attr("num_tables", 1)
                              .Attr("embedding_partitions", "partitions")
                              .Attr("hbm_buffers_config", "buffers")
                              .Attr("tpu_topology", "topology"));
  Return(activations, 0, DT_FLOAT);
  ASSERT_TRUE(Compile().ok());
  EXPECT_EQ(LastAsked().topology, "topology");
}

TEST_F(LibtpuLoweringsTest, SizeMaskSplitAndMerge) {
  Node* size = Add(Op("ComputeDedupDataSize"));
  Node* mask = Add(Op("ComputeDedupDataTupleMask"));
  Tensor tuple_mask(DT_INT32, TensorShape({3, 2}));
  const int32_t rows[] = {0, 2, 1, 3, 0, 1};
  std::memcpy(tuple_mask.data(), rows, sizeof(rows));
  tensorflow::TensorProto proto;
  tuple_mask.AsProtoTensorContent(&proto);
  const std::string serialized = proto.SerializeAsString();
  Node* split = Add(Op("SplitDedupData")
                        .Input(Add(Op("XlaRecvTPUEmbeddingDeduplicationData")))
                        .Attr("integer_type", tensorflow::DT_UINT32)
                        .Attr("float_type", DT_FLOAT)
                        .Attr("tuple_mask", serialized));
  Node* merged = Add(Op("MergeDedupData")
                         .Input(split, 0)
                         .Input(split, 1)
                         .Attr("tuple_mask", serialized));
  Node* activations = Add(
      Op("XlaRecvTPUEmbeddingActivations").Input(merged).Attr("num_tables", 1));
  Return(size, 0, DT_INT32);
  Return(mask, 0, DT_INT32);
  Return(split, 0, tensorflow::DT_UINT32);
  Return(split, 1, DT_FLOAT);
  Return(activations, 0, DT_FLOAT);
  const absl::Status status = Compile();
  ASSERT_TRUE(status.ok()) << status;
  const std::vector<xla::Literal> results = Run();
  ASSERT_EQ(results.size(), 5);
  EXPECT_EQ(results[0], xla::LiteralUtil::CreateR0<int32_t>(6));
  EXPECT_EQ(results[1],
            xla::LiteralUtil::CreateR2<int32_t>({{0, 2}, {1, 3}, {0, 1}}));
  EXPECT_EQ(results[2], xla::LiteralUtil::CreateR1<uint32_t>({11, 12, 13}));
  EXPECT_EQ(results[3], xla::LiteralUtil::CreateR1<float>({0.5f, 1.5f, 2.5f}));
  EXPECT_EQ(results[4], xla::LiteralUtil::CreateFullWithDescendingLayout<float>(
                            {2, 3}, 15.5f));
}

TEST_F(LibtpuLoweringsTest, WhatLibtpuRefusesReachesTheCaller) {
  Ops().TpuEmbeddingEngine_RecvTPUEmbeddingDeduplicationDataComputationFn =
      RefuseRecvData;
  Return(Add(Op("RecvTPUEmbeddingActivations").Attr("num_outputs", 1)), 0,
         DT_FLOAT);
  const absl::Status status = Compile();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_NE(status.message().find("the TPU system is not initialized"),
            std::string::npos)
      << status;
}

TEST_F(LibtpuLoweringsTest, WithoutLibtpuTheErrorSaysWhatIsMissing) {
  Ops().TpuEmbeddingEngine_RecvTPUEmbeddingDeduplicationDataComputationFn =
      nullptr;
  Return(Add(Op("RecvTPUEmbeddingActivations").Attr("num_outputs", 1)), 0,
         DT_FLOAT);
  const absl::Status status = Compile();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented) << status;
  for (const char* text : {"RecvTPUEmbeddingActivations is compiled for a TPU",
                           "has not loaded a libtpu with TpuEmbeddingEngine_"
                           "RecvTPUEmbeddingDeduplicationDataComputation",
                           "tensorflow-tpu", "initialize_tpu_system"}) {
    EXPECT_NE(status.message().find(text), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace tf_embed
