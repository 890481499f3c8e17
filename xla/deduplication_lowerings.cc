// The Xla forms of Recv and Send in compiled programs: one op receives a batch,
// and the deduplication data that it puts out say for which batch others look
// up and send. On XLA:CPU the data are a ticket, s64[]; on a TPU they are what
// libtpu makes them, a tuple of vectors of integers and of floats.

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/config_attr.h"
#include "kernels/dedup_tuple_mask.h"
#include "kernels/op_attrs.h"
#include "kernels/status_bridge.h"
#include "tensorflow/compiler/tf2xla/type_util.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "xla/engine_calls.h"
#include "xla/engine_op_lowering.h"
#include "xla/hlo/builder/lib/constants.h"
#include "xla/hlo/builder/lib/slicing.h"
#include "xla/input_bounds.h"
#include "xla/libtpu_computations.h"
#include "xla/lowering_registration.h"
#include "xla/lowering_target.h"

namespace tf_embed {
namespace {

using ::tensorflow::OpKernelConstruction;
using ::tensorflow::TensorShape;
using ::tensorflow::XlaOpKernel;
using ::tensorflow::XlaOpKernelContext;

constexpr EngineOp kRecvData = {EngineCall::kReceive, /*gradients=*/nullptr,
                                /*takes_data=*/false, EngineOp::kData};
constexpr EngineOp kRecvActivations = {
    EngineCall::kLookUp, /*gradients=*/nullptr,
    /*takes_data=*/true, EngineOp::kActivations};
constexpr EngineOp kSendGradients = {EngineCall::kSendBatch,
                                     /*gradients=*/"gradients",
                                     /*takes_data=*/true, EngineOp::kNothing};

// What the two ops about the data's form have in common.
class DedupDataFormLowering : public XlaOpKernel {
 public:
  explicit DedupDataFormLowering(OpKernelConstruction* ctx) : XlaOpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadRequiredConfig(ctx, &config_));
    OP_REQUIRES_VALUE(libtpu_, ctx, LibtpuComputations::Create(ctx));
  }

 protected:
  int num_integers() const { return NumDedupIntegers(*config_->config()); }
  const LibtpuComputations& libtpu() const { return *libtpu_; }

 private:
  std::unique_ptr<ConfigAttr> config_;
  std::optional<LibtpuComputations> libtpu_;
};

class ComputeDedupDataSizeLowering : public DedupDataFormLowering {
 public:
  using DedupDataFormLowering::DedupDataFormLowering;

  void Compile(XlaOpKernelContext* ctx) override {
    OP_REQUIRES_VALUE(const LoweringTarget target, ctx, FindEngine(ctx));
    int32_t size = num_integers();
    if (target == LoweringTarget::kTpu) {
      OP_REQUIRES_VALUE(size, ctx, libtpu().DedupDataSize());
    }
    ctx->SetOutput(0, xla::ConstantR0<int32_t>(ctx->builder(), size));
  }
};

class ComputeDedupDataTupleMaskLowering : public DedupDataFormLowering {
 public:
  using DedupDataFormLowering::DedupDataFormLowering;

  void Compile(XlaOpKernelContext* ctx) override {
    OP_REQUIRES_VALUE(const LoweringTarget target, ctx, FindEngine(ctx));
    if (target == LoweringTarget::kTpu) {
      OP_REQUIRES_VALUE(const xla::XlaComputation mask, ctx,
                        libtpu().DedupDataTupleMask());
      ctx->SetOutput(0, xla::Call(ctx->builder(), mask, {}));
      return;
    }
    ctx->SetOutput(0, xla::ConstantR2<int32_t>(
                          ctx->builder(), {{kDedupIntegers, num_integers()}}));
  }
};

// What Split and Merge have in common.
class DedupDataTensorsLowering : public XlaOpKernel {
 public:
  explicit DedupDataTensorsLowering(OpKernelConstruction* ctx)
      : XlaOpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadDedupMask(ctx, type_string().c_str(), &mask_));
    OP_REQUIRES_VALUE(types_[kDedupIntegers], ctx, Type(ctx, "integer_type"));
    OP_REQUIRES_VALUE(types_[kDedupFloats], ctx, Type(ctx, "float_type"));
  }

  void Compile(XlaOpKernelContext* ctx) override {
    OP_REQUIRES_VALUE(const LoweringTarget target, ctx, FindEngine(ctx));
    if (target == LoweringTarget::kCpu) {
      CompileTicket(ctx);
      return;
    }
    OP_REQUIRES(ctx, mask_.num_cores == 1,
                ToAbsl(Unimplemented(type_string(),
                                     " of a model that is partitioned over ",
                                     mask_.num_cores,
                                     " cores can't be compiled for a TPU by "
                                     "tf_embed; tensorflow-tpu can")));
    CompileTuple(ctx);
  }

 protected:
  virtual void CompileTicket(XlaOpKernelContext* ctx) = 0;
  virtual void CompileTuple(XlaOpKernelContext* ctx) = 0;

  const DedupMask& mask() const { return mask_; }
  xla::PrimitiveType type(DedupElementType elements) const {
    return types_[elements];
  }

 private:
  static absl::StatusOr<xla::PrimitiveType> Type(OpKernelConstruction* ctx,
                                                 const char* attr) {
    tensorflow::DataType type;
    xla::PrimitiveType primitive = xla::PRIMITIVE_TYPE_INVALID;
    absl::Status status = ctx->GetAttr(attr, &type);
    if (status.ok()) status = DataTypeToPrimitiveType(type, &primitive);
    if (!status.ok()) return status;
    return primitive;
  }

  DedupMask mask_;
  xla::PrimitiveType types_[2];
};

class SplitDedupDataLowering : public DedupDataTensorsLowering {
 public:
  using DedupDataTensorsLowering::DedupDataTensorsLowering;

 private:
  // The ticket and zeros.
  void CompileTicket(XlaOpKernelContext* ctx) override {
    const xla::PrimitiveType integer = type(kDedupIntegers);
    const xla::XlaOp ticket =
        xla::Reshape(xla::ConvertElementType(ctx->Input(0), integer), {1});
    ctx->SetOutput(0, xla::PadInDim(ticket, xla::Zero(ctx->builder(), integer),
                                    /*dimno=*/0, /*pad_lo=*/0,
                                    /*pad_hi=*/mask().integers - 1));
    ctx->SetOutput(1,
                   xla::Broadcast(xla::Zero(ctx->builder(), type(kDedupFloats)),
                                  {mask().floats}));
  }

  void CompileTuple(XlaOpKernelContext* ctx) override {
    const xla::XlaOp tuple = ctx->Input(0);
    OP_REQUIRES_VALUE(const xla::Shape shape, ctx,
                      ctx->builder()->GetShape(tuple));
    const size_t num_runs = mask().runs.size();
    OP_REQUIRES(ctx, shape.IsTuple() && shape.tuple_shapes().size() == num_runs,
                ToAbsl(InvalidArgument("tuple_mask has ", num_runs,
                                       " rows, but the deduplication data are ",
                                       shape.ToString())));
    std::vector<xla::XlaOp> parts[2];
    for (size_t i = 0; i < num_runs; ++i) {
      parts[mask().runs[i].type].push_back(xla::GetTupleElement(tuple, i));
    }
    for (const DedupElementType elements : {kDedupIntegers, kDedupFloats}) {
      ctx->SetOutput(
          elements,
          parts[elements].empty()
              ? xla::Broadcast(xla::Zero(ctx->builder(), type(elements)), {0})
              : xla::ConcatInDim(ctx->builder(), parts[elements], 0));
    }
  }
};

class MergeDedupDataLowering : public DedupDataTensorsLowering {
 public:
  using DedupDataTensorsLowering::DedupDataTensorsLowering;

 private:
  void CompileTicket(XlaOpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, CheckInputs(ctx));
    const xla::XlaOp first = xla::SliceInDim(ctx->Input(0), 0, 1, 1, 0);
    ctx->SetOutput(0,
                   xla::Reshape(xla::ConvertElementType(first, xla::S64), {}));
  }

  void CompileTuple(XlaOpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, CheckInputs(ctx));
    int64_t begin[2] = {0, 0};
    std::vector<xla::XlaOp> elements;
    for (const DedupMask::Run& run : mask().runs) {
      int64_t& first = begin[run.type];
      elements.push_back(
          xla::SliceInDim(ctx->Input(run.type), first, first + run.span, 1, 0));
      first += run.span;
    }
    ctx->SetOutput(0, xla::Tuple(ctx->builder(), elements));
  }

  absl::Status CheckInputs(XlaOpKernelContext* ctx) {
    const absl::StatusOr<TensorShape> integers = InputBounds(ctx, 0);
    if (!integers.ok()) return integers.status();
    const absl::StatusOr<TensorShape> floats = InputBounds(ctx, 1);
    if (!floats.ok()) return floats.status();
    return ToAbsl(CheckDedupTensors(mask(), *integers, *floats));
  }
};

// The V2 forms have three attributes more, which describe a TPU's memory.
const LoweringTable lowerings({
    EngineOpEntry<kRecvData>("XlaRecvTPUEmbeddingDeduplicationData"),
    EngineOpEntry<kRecvData>("XlaRecvTPUEmbeddingDeduplicationDataV2"),
    EngineOpEntry<kRecvActivations>("XlaRecvTPUEmbeddingActivations"),
    EngineOpEntry<kRecvActivations>("XlaRecvTPUEmbeddingActivationsV2"),
    EngineOpEntry<kSendGradients>("XlaSendTPUEmbeddingGradients"),
    EngineOpEntry<kSendGradients>("XlaSendTPUEmbeddingGradientsV2"),
    {"ComputeDedupDataSize", CreateLowering<ComputeDedupDataSizeLowering>},
    {"ComputeDedupDataSizeV2", CreateLowering<ComputeDedupDataSizeLowering>},
    {"ComputeDedupDataTupleMask",
     CreateLowering<ComputeDedupDataTupleMaskLowering>},
    {"ComputeDedupDataTupleMaskV2",
     CreateLowering<ComputeDedupDataTupleMaskLowering>},
    {"SplitDedupData", CreateLowering<SplitDedupDataLowering>},
    {"MergeDedupData", CreateLowering<MergeDedupDataLowering>},
});

}  // namespace
}  // namespace tf_embed
