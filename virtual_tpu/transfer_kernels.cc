// Infeed and outfeed: tuples of tensors on their way between host and core.

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/status_bridge.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/variant.h"
#include "tensorflow/core/framework/variant_tensor_data.h"
#include "virtual_tpu/device_names.h"
#include "virtual_tpu/kernel_util.h"
#include "virtual_tpu/options.h"
#include "virtual_tpu/transfers.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::AsyncOpKernel;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using Tuple = std::vector<Tensor>;

// A prelinearized tuple is just the tuple.
struct Prelinearized {
  Tuple tensors;

  std::string TypeName() const { return "tf_embed::Prelinearized"; }
  void Encode(tensorflow::VariantTensorData* data) const {
    for (const Tensor& tensor : tensors) *data->add_tensors() = tensor;
  }
  bool Decode(const tensorflow::VariantTensorData& data) {
    tensors = data.tensors();
    return true;
  }
};

Tuple Inputs(OpKernelContext* ctx) {
  Tuple tuple;
  tuple.reserve(ctx->num_inputs());
  for (int i = 0; i < ctx->num_inputs(); ++i) tuple.push_back(ctx->input(i));
  return tuple;
}

// The core that an op speaks of: its own where it runs on one, else the one
// that the host names in `device_ordinal`.
class TransferOp : public AsyncOpKernel {
 public:
  explicit TransferOp(OpKernelConstruction* ctx, Direction direction)
      : AsyncOpKernel(ctx), direction_(direction) {
    if (ctx->HasAttr("device_ordinal")) {
      OP_REQUIRES_OK(ctx, ctx->GetAttr("device_ordinal", &ordinal_));
    }
  }

 protected:
  absl::Status Queue(OpKernelContext* ctx, TransferQueue** queue) const {
    int core = ordinal_;
    if (ctx->device()->parsed_name().type == kTpuType) {
      core = DeviceIndex(ctx);
    } else if (ctx->num_inputs() == 1 && type_string().back() == '2') {
      core = ctx->input(0).scalar<int32_t>()();  // OutfeedDequeue*V2
    }
    if (core < 0 || core >= NumCores()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name(), " has device_ordinal ", core,
                       ", must be from 0 to ", NumCores() - 1));
    }
    *queue = &CoreQueue(direction_, core);
    return absl::OkStatus();
  }

  void Put(OpKernelContext* ctx, Tuple tuple, DoneCallback done) const {
    TransferQueue* queue = nullptr;
    OP_REQUIRES_OK_ASYNC(ctx, Queue(ctx, &queue), done);
    const int64_t ticket = queue->NewTicket();
    auto over = OnCancellation(ctx, [=] { queue->Cancel(ticket); });
    queue->Put(ticket, std::make_shared<Tuple>(std::move(tuple)),
               [=](const Status& status) {
                 over();
                 ctx->SetStatus(ToAbsl(status));
                 done();
               });
  }

 private:
  const Direction direction_;
  int ordinal_ = -1;
};

class EnqueueOp : public TransferOp {
 public:
  using TransferOp::TransferOp;
  void ComputeAsync(OpKernelContext* ctx, DoneCallback done) override {
    Put(ctx, Inputs(ctx), std::move(done));
  }
};

class DequeueOp : public TransferOp {
 public:
  using TransferOp::TransferOp;
  void ComputeAsync(OpKernelContext* ctx, DoneCallback done) override {
    TransferQueue* queue = nullptr;
    OP_REQUIRES_OK_ASYNC(ctx, Queue(ctx, &queue), done);
    const int64_t ticket = queue->NewTicket();
    auto over = OnCancellation(ctx, [=] { queue->Cancel(ticket); });
    queue->Take(ticket, [=](StatusOr<TransferQueue::Item> item) {
      over();
      OP_REQUIRES_OK_ASYNC(ctx, ToAbsl(item.status()), done);
      const auto& tuple = *static_cast<const Tuple*>(item.value().get());
      OP_REQUIRES_OK_ASYNC(ctx, CheckTypes(*ctx, tuple), done);
      for (int i = 0; i < tuple.size(); ++i) ctx->set_output(i, tuple[i]);
      done();
    });
  }

 private:
  absl::Status CheckTypes(const OpKernelContext& ctx,
                          const Tuple& tuple) const {
    if (tuple.size() != ctx.num_outputs()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name(), " takes ", ctx.num_outputs(), " tensors, but ",
                       tuple.size(), " were sent"));
    }
    for (int i = 0; i < tuple.size(); ++i) {
      if (tuple[i].dtype() != ctx.expected_output_dtype(i)) {
        return absl::InvalidArgumentError(absl::StrCat(
            name(), " takes ",
            tensorflow::DataTypeString(ctx.expected_output_dtype(i)),
            " as tensor ", i, ", but ",
            tensorflow::DataTypeString(tuple[i].dtype()), " was sent"));
      }
    }
    return absl::OkStatus();
  }
};

class InfeedEnqueueOp : public EnqueueOp {
 public:
  explicit InfeedEnqueueOp(OpKernelConstruction* ctx)
      : EnqueueOp(ctx, Direction::kInfeed) {}
};
class OutfeedEnqueueOp : public EnqueueOp {
 public:
  explicit OutfeedEnqueueOp(OpKernelConstruction* ctx)
      : EnqueueOp(ctx, Direction::kOutfeed) {}
};
class InfeedDequeueOp : public DequeueOp {
 public:
  explicit InfeedDequeueOp(OpKernelConstruction* ctx)
      : DequeueOp(ctx, Direction::kInfeed) {}
};
class OutfeedDequeueOp : public DequeueOp {
 public:
  explicit OutfeedDequeueOp(OpKernelConstruction* ctx)
      : DequeueOp(ctx, Direction::kOutfeed) {}
};

class PrelinearizeOp : public OpKernel {
 public:
  using OpKernel::OpKernel;
  void Compute(OpKernelContext* ctx) override {
    Tensor buffer(tensorflow::DT_VARIANT, {});
    buffer.scalar<tensorflow::Variant>()() = Prelinearized{Inputs(ctx)};
    ctx->set_output(0, buffer);
  }
};

class InfeedEnqueuePrelinearizedBufferOp : public TransferOp {
 public:
  explicit InfeedEnqueuePrelinearizedBufferOp(OpKernelConstruction* ctx)
      : TransferOp(ctx, Direction::kInfeed) {}
  void ComputeAsync(OpKernelContext* ctx, DoneCallback done) override {
    const auto* buffer =
        ctx->input(0).scalar<tensorflow::Variant>()().get<Prelinearized>();
    OP_REQUIRES_ASYNC(
        ctx, buffer != nullptr,
        absl::InvalidArgumentError(absl::StrCat(
            name(), " takes what Prelinearize or PrelinearizeTuple made")),
        done);
    Put(ctx, buffer->tensors, std::move(done));
  }
};

// Host ops run on the CPU and, where a program names the device, on the core.
#define TF_EMBED_TRANSFER_KERNEL(op, kernel) \
  REGISTER_KERNEL_BUILDER(Name(op).Device(tensorflow::DEVICE_CPU), kernel)

TF_EMBED_TRANSFER_KERNEL("InfeedEnqueue", InfeedEnqueueOp);
TF_EMBED_TRANSFER_KERNEL("InfeedEnqueueTuple", InfeedEnqueueOp);
TF_EMBED_TRANSFER_KERNEL("InfeedDequeue", InfeedDequeueOp);
TF_EMBED_TRANSFER_KERNEL("InfeedDequeueTuple", InfeedDequeueOp);
TF_EMBED_TRANSFER_KERNEL("OutfeedEnqueue", OutfeedEnqueueOp);
TF_EMBED_TRANSFER_KERNEL("OutfeedEnqueueTuple", OutfeedEnqueueOp);
TF_EMBED_TRANSFER_KERNEL("OutfeedDequeue", OutfeedDequeueOp);
TF_EMBED_TRANSFER_KERNEL("OutfeedDequeueTuple", OutfeedDequeueOp);
TF_EMBED_TRANSFER_KERNEL("OutfeedDequeueV2", OutfeedDequeueOp);
TF_EMBED_TRANSFER_KERNEL("OutfeedDequeueTupleV2", OutfeedDequeueOp);
TF_EMBED_TRANSFER_KERNEL("Prelinearize", PrelinearizeOp);
TF_EMBED_TRANSFER_KERNEL("PrelinearizeTuple", PrelinearizeOp);
TF_EMBED_TRANSFER_KERNEL("InfeedEnqueuePrelinearizedBuffer",
                         InfeedEnqueuePrelinearizedBufferOp);

#undef TF_EMBED_TRANSFER_KERNEL

}  // namespace
}  // namespace tf_embed::virtual_tpu
