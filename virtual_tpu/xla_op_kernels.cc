// Ops that only XLA gives a meaning, as a core without XLA understands them.
// (The rest of XLA's ops run on the host, where TensorFlow compiles them one by
// one; see replica_expansion.cc.)

#include <cstring>

#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "virtual_tpu/attributes.h"
#include "virtual_tpu/device_names.h"
#include "virtual_tpu/kernel_util.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

// Shapes are dynamic on the host anyway: take what is inside of the bound.
class XlaSetDynamicDimensionSizeOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    const Tensor& input = ctx->input(0);
    const int dim = ctx->input(1).scalar<int32_t>()();
    const int size = ctx->input(2).scalar<int32_t>()();
    OP_REQUIRES(ctx, dim >= 0 && dim < input.dims(),
                absl::InvalidArgumentError(
                    absl::StrCat(name(), ": dim_index is ", dim,
                                 ", must be from 0 to ", input.dims() - 1)));
    OP_REQUIRES(ctx, size >= 0 && size <= input.dim_size(dim),
                absl::InvalidArgumentError(
                    absl::StrCat(name(), ": size is ", size,
                                 ", must be from 0 to ", input.dim_size(dim))));
    TensorShape shape = input.shape();
    if (shape.dim_size(dim) == size) {  // the only case for strings
      ctx->set_output(0, input);
      return;
    }
    shape.set_dim(dim, size);
    Tensor* output = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, shape, &output));
    int64_t outer = 1;
    int64_t inner = tensorflow::DataTypeSize(input.dtype());
    OP_REQUIRES(
        ctx, inner > 0,
        absl::InvalidArgumentError(absl::StrCat(
            name(), ": dtype ", tensorflow::DataTypeString(input.dtype()),
            " has no fixed size")));
    for (int i = 0; i < dim; ++i) outer *= shape.dim_size(i);
    for (int i = dim + 1; i < shape.dims(); ++i) inner *= shape.dim_size(i);
    const auto* from = static_cast<const char*>(input.data());
    auto* to = static_cast<char*>(output->data());
    for (int64_t i = 0; i < outer; ++i) {
      std::memcpy(to + i * size * inner, from + i * input.dim_size(dim) * inner,
                  size * inner);
    }
  }
};

// Annotations: nothing is sharded, so the first input is the result.
class AnnotationOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    ctx->set_output(0, ctx->input(0));
  }
  bool IsExpensive() override { return false; }
};

class XlaOptimizationBarrierOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* ctx) override {
    for (int i = 0; i < ctx->num_inputs(); ++i) {
      ctx->set_output(i, ctx->input(i));
    }
  }
  bool IsExpensive() override { return false; }
};

class XlaReplicaIdOp : public OpKernel {
 public:
  explicit XlaReplicaIdOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    if (ctx->HasAttr(kReplicaAttr)) {
      OP_REQUIRES_OK(ctx, ctx->GetAttr(kReplicaAttr, &replica_));
    }
  }

  void Compute(OpKernelContext* ctx) override {
    Tensor* id = nullptr;
    OP_REQUIRES_OK(ctx, ctx->allocate_output(0, TensorShape({}), &id));
    id->scalar<int32_t>()() = replica_ >= 0 ? replica_ : DeviceIndex(ctx);
  }

 private:
  int replica_ = -1;
};

REGISTER_KERNEL_BUILDER(Name("XlaSetDynamicDimensionSize").Device(kTpuType),
                        XlaSetDynamicDimensionSizeOp);
REGISTER_KERNEL_BUILDER(Name("XlaRemoveDynamicDimensionSize").Device(kTpuType),
                        AnnotationOp);
REGISTER_KERNEL_BUILDER(Name("XlaSetBound").Device(kTpuType), AnnotationOp);
REGISTER_KERNEL_BUILDER(Name("XlaSharding").Device(kTpuType), AnnotationOp);
REGISTER_KERNEL_BUILDER(Name("XlaOptimizationBarrier").Device(kTpuType),
                        XlaOptimizationBarrierOp);
REGISTER_KERNEL_BUILDER(Name("XlaReplicaId").Device(kTpuType), XlaReplicaIdOp);

}  // namespace
}  // namespace tf_embed::virtual_tpu
