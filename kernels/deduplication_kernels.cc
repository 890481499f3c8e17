// The Xla forms of Recv and Send, which a TPU host makes of the plain ones:
//
//   XlaRecvDeduplicationData -> data -> XlaRecvActivations -> activations
//                                    -> XlaSendGradients   <- gradients
//
// On a TPU the data say how the batch's ids were made unique. Here they are a
// ticket for the batch, so that activations and gradients are of the same one.
// Their form as plain tensors (SplitDedupData, MergeDedupData) is the ticket's
// number in the first integer.

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/config_attr.h"
#include "kernels/dedup_tuple_mask.h"
#include "kernels/kernel_registration.h"
#include "kernels/op_attrs.h"
#include "kernels/op_cores.h"
#include "kernels/status_bridge.h"
#include "kernels/step_protocol.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/variant.h"
#include "tensorflow/core/framework/variant_tensor_data.h"
#include "tf_embed/engine/batch_tickets.h"

namespace tf_embed {
namespace {

using ::tensorflow::AsyncOpKernel;
using ::tensorflow::DataType;
using ::tensorflow::OpKernel;
using ::tensorflow::OpKernelConstruction;
using ::tensorflow::OpKernelContext;
using ::tensorflow::Tensor;
using ::tensorflow::TensorShape;
using ::tensorflow::Variant;
using ::tensorflow::VariantTensorData;

// The value of a deduplication data variant.
struct Ticket {
  std::shared_ptr<const BatchTickets::Entry> contents;

  std::string TypeName() const { return "tf_embed::Ticket"; }
  std::string DebugString() const { return TypeName(); }
  // A ticket means nothing in another process.
  void Encode(VariantTensorData* data) const {
    data->set_type_name(TypeName());
  }
  bool Decode(const VariantTensorData&) { return false; }
};

using TicketContents = std::shared_ptr<const BatchTickets::Entry>;

StatusOr<TicketContents> ReadTicket(const Tensor& tensor) {
  if (tensor.dims() != 0) {
    return InvalidArgument("The deduplication data must be a scalar; got ",
                           tensor.shape().DebugString());
  }
  const Ticket* ticket = tensor.scalar<Variant>()().get<Ticket>();
  if (ticket == nullptr || ticket->contents == nullptr) {
    return InvalidArgument(
        "The deduplication data are not an output of "
        "XlaRecvTPUEmbeddingDeduplicationData or MergeDedupData");
  }
  return ticket->contents;
}

absl::Status WriteTicket(OpKernelContext* ctx, TicketContents contents) {
  Tensor* output = nullptr;
  absl::Status status = ctx->allocate_output(0, TensorShape({}), &output);
  if (status.ok()) {
    output->scalar<Variant>()() = Ticket{std::move(contents)};
  }
  return status;
}

// Refuses a ticket of an engine that is no longer active.
Status CheckEngine(const BatchTickets::Entry& ticket,
                   const std::shared_ptr<Engine>& active) {
  if (ticket.engine.lock() == active) return OkStatus();
  return FailedPrecondition(
      "The deduplication data belong to a TPU embedding engine that has been "
      "replaced");
}

class XlaRecvDeduplicationDataOp : public AsyncOpKernel {
 public:
  explicit XlaRecvDeduplicationDataOp(OpKernelConstruction* ctx)
      : AsyncOpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadRequiredConfig(ctx, &config_));
  }

  void ComputeAsync(OpKernelContext* ctx, DoneCallback done) override {
    const StatusOr<std::shared_ptr<Engine>> engine = config_->ActiveEngine();
    OP_REQUIRES_OK_ASYNC(ctx, ToAbsl(engine.status()), done);
    const StatusOr<CoreRange> cores = CoresOfOp(ctx, *config_->config());
    OP_REQUIRES_OK_ASYNC(ctx, ToAbsl(cores.status()), done);
    ReceiveBatches(ctx, *engine, *cores,
                   [ctx, engine = std::weak_ptr<Engine>(*engine),
                    cores = *cores, done](StatusOr<ReceivedBatches> batches) {
                     OP_REQUIRES_OK_ASYNC(ctx, ToAbsl(batches.status()), done);
                     auto contents = std::make_shared<BatchTickets::Entry>();
                     *contents = {engine, cores, *std::move(batches)};
                     OP_REQUIRES_OK_ASYNC(
                         ctx, WriteTicket(ctx, std::move(contents)), done);
                     done();
                   });
  }

 private:
  std::unique_ptr<ConfigAttr> config_;
};

class XlaRecvActivationsOp : public OpKernel {
 public:
  explicit XlaRecvActivationsOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadRequiredConfig(ctx, &config_));
    OP_REQUIRES_OK(ctx,
                   ToAbsl(CheckOutputCount(*config_->config(), num_outputs())));
  }

  void Compute(OpKernelContext* ctx) override {
    const StatusOr<std::shared_ptr<Engine>> engine = config_->ActiveEngine();
    OP_REQUIRES_OK(ctx, ToAbsl(engine.status()));
    const StatusOr<TicketContents> ticket = ReadTicket(ctx->input(0));
    OP_REQUIRES_OK(ctx, ToAbsl(ticket.status()));
    OP_REQUIRES_OK(ctx, ToAbsl(CheckEngine(**ticket, *engine)));
    OP_REQUIRES_OK(ctx,
                   ToAbsl(LookupIntoOutputs(ctx, **engine, (*ticket)->cores,
                                            (*ticket)->batches)));
  }

 private:
  std::unique_ptr<ConfigAttr> config_;
};

class XlaSendGradientsOp : public OpKernel {
 public:
  explicit XlaSendGradientsOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadRequiredConfig(ctx, &config_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("NumTables", &num_gradients_));
    OP_REQUIRES_OK(ctx,
                   ctx->GetAttr("NumLearningRateTags", &num_learning_rates_));
  }

  void Compute(OpKernelContext* ctx) override {
    const StatusOr<std::shared_ptr<Engine>> engine = config_->ActiveEngine();
    OP_REQUIRES_OK(ctx, ToAbsl(engine.status()));
    const StatusOr<TicketContents> ticket =
        ReadTicket(ctx->input(num_gradients_ + num_learning_rates_));
    OP_REQUIRES_OK(ctx, ToAbsl(ticket.status()));
    OP_REQUIRES_OK(ctx, ToAbsl(CheckEngine(**ticket, *engine)));
    OP_REQUIRES_OK(ctx, ToAbsl(SendGradients(
                            ctx, **engine, (*ticket)->cores, num_gradients_,
                            num_learning_rates_, &(*ticket)->batches)));
  }

 private:
  std::unique_ptr<ConfigAttr> config_;
  int num_gradients_ = 0;
  int num_learning_rates_ = 0;
};

class ComputeDedupDataSizeOp : public OpKernel {
 public:
  explicit ComputeDedupDataSizeOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadRequiredConfig(ctx, &config_));
  }

  void Compute(OpKernelContext* ctx) override {
    Tensor* output = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({}), &output));
    output->scalar<int32_t>()() = NumDedupIntegers(*config_->config());
  }

  bool IsExpensive() override { return false; }

 private:
  std::unique_ptr<ConfigAttr> config_;
};

class ComputeDedupDataTupleMaskOp : public OpKernel {
 public:
  explicit ComputeDedupDataTupleMaskOp(OpKernelConstruction* ctx)
      : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadRequiredConfig(ctx, &config_));
  }

  void Compute(OpKernelContext* ctx) override {
    Tensor* output = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({1, 2}), &output));
    output->matrix<int32_t>()(0, 0) = kDedupIntegers;
    output->matrix<int32_t>()(0, 1) = NumDedupIntegers(*config_->config());
  }

  bool IsExpensive() override { return false; }

 private:
  std::unique_ptr<ConfigAttr> config_;
};

void SetFirst(Tensor& tensor, int64_t value) {
  switch (tensor.dtype()) {
    case tensorflow::DT_INT32:
      tensor.flat<int32_t>()(0) = static_cast<int32_t>(value);
      break;
    case tensorflow::DT_UINT32:
      tensor.flat<uint32_t>()(0) = static_cast<uint32_t>(value);
      break;
    case tensorflow::DT_UINT64:
      tensor.flat<uint64_t>()(0) = static_cast<uint64_t>(value);
      break;
    default:  // The op definition allows nothing else.
      tensor.flat<int64_t>()(0) = value;
  }
}

int64_t First(const Tensor& tensor) {
  switch (tensor.dtype()) {
    case tensorflow::DT_INT32:
      return tensor.flat<int32_t>()(0);
    case tensorflow::DT_UINT32:
      return tensor.flat<uint32_t>()(0);
    case tensorflow::DT_UINT64:
      return static_cast<int64_t>(tensor.flat<uint64_t>()(0));
    default:
      return tensor.flat<int64_t>()(0);
  }
}

class SplitDedupDataOp : public OpKernel {
 public:
  explicit SplitDedupDataOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadDedupMask(ctx, "SplitDedupData", &mask_));
  }

  void Compute(OpKernelContext* ctx) override {
    const StatusOr<TicketContents> ticket = ReadTicket(ctx->input(0));
    OP_REQUIRES_OK(ctx, ToAbsl(ticket.status()));
    Tensor* integers = nullptr;
    Tensor* floats = nullptr;
    OP_REQUIRES_OK(
        ctx, ctx->allocate_output(0, TensorShape({mask_.integers}), &integers));
    OP_REQUIRES_OK(
        ctx, ctx->allocate_output(1, TensorShape({mask_.floats}), &floats));
    // All bits zero is 0 in each of the types.
    std::memset(integers->data(), 0, integers->TotalBytes());
    std::memset(floats->data(), 0, floats->TotalBytes());
    SetFirst(*integers, BatchTickets::Global().Add(**ticket));
  }

 private:
  DedupMask mask_;
};

class MergeDedupDataOp : public OpKernel {
 public:
  explicit MergeDedupDataOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, ReadDedupMask(ctx, "MergeDedupData", &mask_));
  }

  void Compute(OpKernelContext* ctx) override {
    const Tensor& integers = ctx->input(0);
    OP_REQUIRES_OK(ctx, ToAbsl(CheckDedupTensors(mask_, integers.shape(),
                                                 ctx->input(1).shape())));
    auto contents = std::make_shared<BatchTickets::Entry>();
    OP_REQUIRES(
        ctx, BatchTickets::Global().Find(First(integers), contents.get()),
        absl::InvalidArgumentError(
            "integer_tensor does not come from SplitDedupData, or was "
            "split too many steps ago, or whose gradients are applied"));
    OP_REQUIRES_OK(ctx, WriteTicket(ctx, std::move(contents)));
  }

 private:
  DedupMask mask_;
};

// The V2 forms have three attributes more, which describe a TPU's memory.
const KernelTable kernels({
    {"XlaRecvTPUEmbeddingDeduplicationData",
     Create<XlaRecvDeduplicationDataOp>},
    {"XlaRecvTPUEmbeddingDeduplicationDataV2",
     Create<XlaRecvDeduplicationDataOp>},
    {"XlaRecvTPUEmbeddingActivations", Create<XlaRecvActivationsOp>},
    {"XlaRecvTPUEmbeddingActivationsV2", Create<XlaRecvActivationsOp>},
    {"XlaSendTPUEmbeddingGradients", Create<XlaSendGradientsOp>},
    {"XlaSendTPUEmbeddingGradientsV2", Create<XlaSendGradientsOp>},
    {"ComputeDedupDataSize", Create<ComputeDedupDataSizeOp>},
    {"ComputeDedupDataSizeV2", Create<ComputeDedupDataSizeOp>},
    {"ComputeDedupDataTupleMask", Create<ComputeDedupDataTupleMaskOp>},
    {"ComputeDedupDataTupleMaskV2", Create<ComputeDedupDataTupleMaskOp>},
    {"SplitDedupData", Create<SplitDedupDataOp>},
    {"MergeDedupData", Create<MergeDedupDataOp>},
});

}  // namespace
}  // namespace tf_embed
