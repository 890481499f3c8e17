#include "xla/libtpu_computations.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "xla/service/hlo.pb.h"
#include "xla/shape_util.h"
#include "xla/stream_executor/tpu/c_api_decl.h"
#include "xla/stream_executor/tpu/tpu_api.h"

// The header that declares this includes MLIR, which the wheel lacks.
namespace ApiConverter {
void ToC(const xla::Shape& shape, XLA_Shape* c_shape);
}  // namespace ApiConverter

namespace tf_embed {
namespace {

using ::stream_executor::tpu::ExecutorApiFn;
using ::stream_executor::tpu::OpsApiFn;

TpuSerializedProto Borrow(const std::string& bytes) {
  return {bytes.data(), bytes.size()};
}

// A proto that libtpu has allocated with new[], and the caller must delete.
class OwnedProto {
 public:
  OwnedProto() = default;
  ~OwnedProto() { delete[] proto_.bytes; }
  OwnedProto(const OwnedProto&) = delete;
  OwnedProto& operator=(const OwnedProto&) = delete;

  TpuSerializedProto* get() { return &proto_; }

 private:
  TpuSerializedProto proto_ = {nullptr, 0};
};

// TensorFlow exports the conversion of a shape, but not the way to free it.
class CShape {
 public:
  explicit CShape(const xla::Shape& shape) {
    ApiConverter::ToC(shape, &shape_);
  }
  ~CShape() { Free(shape_); }
  CShape(const CShape&) = delete;
  CShape& operator=(const CShape&) = delete;

  XLA_Shape* get() { return &shape_; }

 private:
  template <typename List>
  static void FreeList(List& list) {
    if (list.size > TPU_C_API_MAX_INLINED) delete[] list.heap;
  }

  static void Free(XLA_Shape& shape) {
    for (int i = 0; i < shape.ntuple_shapes; ++i) Free(shape.tuple_shapes[i]);
    if (shape.ntuple_shapes > 0) delete[] shape.tuple_shapes;
    FreeList(shape.dimensions);
    FreeList(shape.dynamic_dimensions);
    if (!shape.has_layout) return;
    FreeList(shape.layout.minor_to_major);
    TileList& tiles = shape.layout.tiles;
    XLA_Tile* const first =
        tiles.size > TPU_C_API_MAX_INLINED ? tiles.heap : tiles.inlined;
    for (int i = 0; i < tiles.size; ++i) FreeList(first[i].dimensions);
    FreeList(tiles);
  }

  XLA_Shape shape_ = {};
};

}  // namespace

absl::StatusOr<LibtpuComputations> LibtpuComputations::Create(
    tensorflow::OpKernelConstruction* ctx) {
  LibtpuComputations computations;
  computations.op_ = ctx->def().op();
  absl::Status status = ctx->GetAttr("config", &computations.config_);
  if (!status.ok()) return status;
  const std::pair<const char*, std::string*> v2_attributes[] = {
      {"embedding_partitions", &computations.embedding_partitions_},
      {"hbm_buffers_config", &computations.hbm_buffers_config_},
      {"tpu_topology", &computations.tpu_topology_},
  };
  for (const auto& [name, value] : v2_attributes) {
    if (!ctx->HasAttr(name)) continue;
    status = ctx->GetAttr(name, value);
    if (!status.ok()) return status;
  }
  return computations;
}

template <typename Params>
void LibtpuComputations::SetAttributes(Params& params) const {
  params.struct_size = sizeof(Params);
  params.tpu_embedding_config = Borrow(config_);
  params.embedding_partitions = Borrow(embedding_partitions_);
  params.hbm_buffers_config = Borrow(hbm_buffers_config_);
  params.tpu_topology = Borrow(tpu_topology_);
}

template <typename Params>
absl::Status LibtpuComputations::Invoke(const char* function,
                                        void (*call)(Params*),
                                        Params& params) const {
  const TfTpu_ExecutorApiFn* executor = ExecutorApiFn();
  if (call == nullptr || executor->TpuStatus_NewFn == nullptr ||
      executor->TpuStatus_CodeFn == nullptr ||
      executor->TpuStatus_MessageFn == nullptr ||
      executor->TpuStatus_FreeFn == nullptr) {
    return absl::UnimplementedError(absl::StrCat(
        op_,
        " is compiled for a TPU, and only libtpu can say what it is "
        "there; but TensorFlow has not loaded a libtpu with ",
        function,
        ". It takes a TPU host with tensorflow-tpu, and "
        "tf.tpu.experimental.initialize_tpu_system before the function is "
        "compiled. On a machine without a TPU, place the function on a CPU"));
  }
  const std::unique_ptr<TF_Status, void (*)(TF_Status*)> status(
      executor->TpuStatus_NewFn(), executor->TpuStatus_FreeFn);
  params.status = status.get();
  SetAttributes(params);
  call(&params);
  const int code = executor->TpuStatus_CodeFn(status.get());
  if (code == 0) return absl::OkStatus();
  return absl::Status(
      static_cast<absl::StatusCode>(code),
      absl::StrCat(op_, ": libtpu's ", function, ": ",
                   executor->TpuStatus_MessageFn(status.get())));
}

template <typename Params>
absl::StatusOr<xla::XlaComputation> LibtpuComputations::Ask(
    const char* function, void (*call)(Params*), Params& params) const {
  OwnedProto result;
  params.xla_computation = result.get();
  const absl::Status status = Invoke(function, call, params);
  if (!status.ok()) return status;
  xla::HloModuleProto module;
  if (!module.ParseFromArray(result.get()->bytes,
                             static_cast<int>(result.get()->size))) {
    return absl::InternalError(absl::StrCat(op_, ": what libtpu's ", function,
                                            " gave is not an HloModuleProto"));
  }
  return xla::XlaComputation(std::move(module));
}

template <typename Params>
absl::StatusOr<xla::XlaComputation> LibtpuComputations::AskSharded(
    const char* function, void (*call)(Params*), const Sharding& sharding,
    Params& params) const {
  std::string serialized;
  TpuSerializedProto proto;
  if (sharding.has_value()) {
    serialized = sharding->SerializeAsString();
    proto = Borrow(serialized);
    params.op_sharding = &proto;
  }
  return Ask(function, call, params);
}

absl::StatusOr<xla::XlaComputation> LibtpuComputations::RecvDeduplicationData(
    const Sharding& sharding) const {
  TpuEmbeddingEngine_RecvTPUEmbeddingDeduplicationDataComputation_Params
      params = {};
  return AskSharded(
      "TpuEmbeddingEngine_RecvTPUEmbeddingDeduplicationDataComputation",
      OpsApiFn()
          ->TpuEmbeddingEngine_RecvTPUEmbeddingDeduplicationDataComputationFn,
      sharding, params);
}

absl::StatusOr<xla::XlaComputation> LibtpuComputations::RecvActivations(
    const xla::Shape& data, const Sharding& sharding) const {
  TpuEmbeddingEngine_RecvActivationsComputation_Params params = {};
  CShape c_data(data);
  params.deduplication_data_shape = c_data.get();
  return AskSharded("TpuEmbeddingEngine_RecvActivationsComputation",
                    OpsApiFn()->TpuEmbeddingEngine_RecvActivationsComputationFn,
                    sharding, params);
}

absl::StatusOr<xla::XlaComputation> LibtpuComputations::SendGradients(
    const std::vector<xla::Shape>& gradients,
    const std::vector<xla::Shape>& learning_rates, const xla::Shape& data,
    const Sharding& sharding) const {
  TpuEmbeddingEngine_SendTPUEmbeddingGradientsComputation_Params params = {};
  CShape c_gradients(xla::ShapeUtil::MakeTupleShape(gradients));
  CShape c_learning_rates(xla::ShapeUtil::MakeTupleShape(learning_rates));
  CShape c_data(data);
  params.num_inputs =
      static_cast<int32_t>(gradients.size() + learning_rates.size() + 1);
  params.gradient_tuple_shape = c_gradients.get();
  params.learning_rate_tuple_shape = c_learning_rates.get();
  params.deduplication_data_shape = c_data.get();
  return AskSharded(
      "TpuEmbeddingEngine_SendTPUEmbeddingGradientsComputation",
      OpsApiFn()->TpuEmbeddingEngine_SendTPUEmbeddingGradientsComputationFn,
      sharding, params);
}

absl::StatusOr<int32_t> LibtpuComputations::DedupDataSize() const {
  TpuEmbeddingEngine_DedupDataSizeComputation_Params params = {};
  int32_t num_elements = 0;
  params.num_elements = &num_elements;
  const absl::Status status =
      Invoke("TpuEmbeddingEngine_DedupDataSizeComputation",
             OpsApiFn()->TpuEmbeddingEngine_DedupDataSizeComputationFn, params);
  if (!status.ok()) return status;
  return num_elements;
}

absl::StatusOr<xla::XlaComputation> LibtpuComputations::DedupDataTupleMask()
    const {
  TpuEmbeddingEngine_DedupDataTupleMaskComputation_Params params = {};
  return Ask("TpuEmbeddingEngine_DedupDataTupleMaskComputation",
             OpsApiFn()->TpuEmbeddingEngine_DedupDataTupleMaskComputationFn,
             params);
}

}  // namespace tf_embed
