// The collectives between replicas.

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "virtual_tpu/collective_op.h"
#include "virtual_tpu/collective_ops.h"
#include "virtual_tpu/device_names.h"
#include "virtual_tpu/reduction.h"
#include "virtual_tpu/tensor_blocks.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

template <typename T>
class AllReduceOp : public CollectiveOp {
 public:
  explicit AllReduceOp(OpKernelConstruction* ctx) : CollectiveOp(ctx) {
    if (!ctx->HasAttr("reduce_op")) return;  // CrossReplicaSum
    OP_REQUIRES_OK(ctx, GetReduction(ctx, &reduction_));
  }

  void ComputeAsync(OpKernelContext* ctx, DoneCallback done) override {
    Group group;
    OP_REQUIRES_OK_ASYNC(ctx, FindGroup(ctx, ctx->input(1), &group), done);
    Meet(
        ctx, group,
        [this](const Contexts& members) -> absl::Status {
          if (absl::Status s = CheckShapes(members); !s.ok()) return s;
          const Tensor sum = Reduce<T>(members, reduction_);
          for (OpKernelContext* member : members) member->set_output(0, sum);
          return absl::OkStatus();
        },
        std::move(done));
  }

 private:
  Reduction reduction_ = Reduction::kAdd;
};

template <typename T>
class ReduceScatterOp : public CollectiveOp {
 public:
  explicit ReduceScatterOp(OpKernelConstruction* ctx) : CollectiveOp(ctx) {
    OP_REQUIRES_OK(ctx, GetReduction(ctx, &reduction_));
  }

  void ComputeAsync(OpKernelContext* ctx, DoneCallback done) override {
    Group group;
    OP_REQUIRES_OK_ASYNC(ctx, FindGroup(ctx, ctx->input(1), &group), done);
    const int dim = ctx->input(2).scalar<int32_t>()();
    OP_REQUIRES_OK_ASYNC(
        ctx, CheckDivisible(name(), ctx->input(0).shape(), dim, group.size()),
        done);
    Meet(
        ctx, group,
        [this, dim](const Contexts& members) -> absl::Status {
          if (absl::Status s = CheckShapes(members); !s.ok()) return s;
          const Tensor sum = Reduce<T>(members, reduction_);
          const int n = static_cast<int>(members.size());
          for (int i = 0; i < n; ++i) {
            members[i]->set_output(0, Block(sum, dim, i, n));
          }
          return absl::OkStatus();
        },
        std::move(done));
  }

 private:
  Reduction reduction_ = Reduction::kAdd;
};

class AllToAllOp : public CollectiveOp {
 public:
  explicit AllToAllOp(OpKernelConstruction* ctx) : CollectiveOp(ctx) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr("concat_dimension", &concat_dim_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("split_dimension", &split_dim_));
    OP_REQUIRES_OK(ctx, ctx->GetAttr("split_count", &split_count_));
  }

  void ComputeAsync(OpKernelContext* ctx, DoneCallback done) override {
    Group group;
    OP_REQUIRES_OK_ASYNC(ctx, FindGroup(ctx, ctx->input(1), &group), done);
    OP_REQUIRES_ASYNC(ctx, group.size() == split_count_,
                      absl::InvalidArgumentError(absl::StrCat(
                          name(), ": split_count is ", split_count_,
                          ", must be the group size ", group.size())),
                      done);
    OP_REQUIRES_OK_ASYNC(
        ctx,
        CheckDivisible(name(), ctx->input(0).shape(), split_dim_, group.size()),
        done);
    OP_REQUIRES_OK_ASYNC(
        ctx, CheckDivisible(name(), ctx->input(0).shape(), concat_dim_, 1),
        done);
    Meet(
        ctx, group,
        [this](const Contexts& members) -> absl::Status {
          if (absl::Status s = CheckShapes(members); !s.ok()) return s;
          return Exchange(members);
        },
        std::move(done));
  }

 private:
  // Block i of member j's input becomes block j of member i's output.
  absl::Status Exchange(const Contexts& members) const {
    const int n = static_cast<int>(members.size());
    TensorShape shape = members[0]->input(0).shape();
    shape.set_dim(split_dim_, shape.dim_size(split_dim_) / n);
    shape.set_dim(concat_dim_, shape.dim_size(concat_dim_) * n);
    for (int i = 0; i < n; ++i) {
      Tensor* output = nullptr;
      if (absl::Status s = members[i]->allocate_output(0, shape, &output);
          !s.ok()) {
        return s;
      }
      for (int j = 0; j < n; ++j) {
        PutBlock(Block(members[j]->input(0), split_dim_, i, n), concat_dim_, j,
                 n, output);
      }
    }
    return absl::OkStatus();
  }

  int concat_dim_ = 0;
  int split_dim_ = 0;
  int split_count_ = 1;
};

class CollectivePermuteOp : public CollectiveOp {
 public:
  using CollectiveOp::CollectiveOp;

  void ComputeAsync(OpKernelContext* ctx, DoneCallback done) override {
    const Group everybody = Everybody(ctx);
    std::vector<int> source(everybody.size(), -1);  // of each target
    OP_REQUIRES_OK_ASYNC(ctx, ParsePairs(ctx->input(1), &source), done);
    // All replicas run the op, also those that neither send nor receive.
    Meet(
        ctx, everybody,
        [this, source](const Contexts& members) -> absl::Status {
          if (absl::Status s = CheckShapes(members); !s.ok()) return s;
          for (size_t i = 0; i < members.size(); ++i) {
            members[i]->set_output(0, source[i] >= 0
                                          ? members[source[i]]->input(0)
                                          : Zeros(members[i]->input(0)));
          }
          return absl::OkStatus();
        },
        std::move(done));
  }

 private:
  absl::Status ParsePairs(const Tensor& pairs, std::vector<int>* source) const {
    if (pairs.dims() != 2 || pairs.dim_size(1) != 2) {
      return absl::InvalidArgumentError(
          absl::StrCat(name(), ": source_target_pairs has shape ",
                       pairs.shape().DebugString(), ", must be [pairs, 2]"));
    }
    const auto pair = pairs.matrix<int32_t>();
    const int n = static_cast<int>(source->size());
    std::vector<bool> sends(n);
    for (int i = 0; i < pairs.dim_size(0); ++i) {
      const int from = pair(i, 0), to = pair(i, 1);
      if (from < 0 || from >= n || to < 0 || to >= n) {
        return absl::InvalidArgumentError(
            absl::StrCat(name(), ": pair (", from, ", ", to,
                         ") names a replica outside of 0 to ", n - 1));
      }
      if ((*source)[to] >= 0 || sends[from]) {
        return absl::InvalidArgumentError(
            absl::StrCat(name(), ": pair (", from, ", ", to,
                         ") names a source or a target a second time"));
      }
      (*source)[to] = from;
      sends[from] = true;
    }
    return absl::OkStatus();
  }

  static Tensor Zeros(const Tensor& like) {
    Tensor zeros(like.dtype(), like.shape());
    if (zeros.TotalBytes() > 0) {
      std::memset(zeros.data(), 0, zeros.TotalBytes());
    }
    return zeros;
  }
};

// Each collective twice: as it is, and with the call it is in.
#define TF_EMBED_COLLECTIVE(op, device, kernel)                              \
  REGISTER_KERNEL_BUILDER(Name(op).Device(device), kernel);                  \
  REGISTER_KERNEL_BUILDER(Name(CollectiveInCall(op).c_str()).Device(device), \
                          kernel)
#define TF_EMBED_REDUCTION(op, device, kernel, type)                         \
  REGISTER_KERNEL_BUILDER(Name(op).Device(device).TypeConstraint<type>("T"), \
                          kernel<type>);                                     \
  REGISTER_KERNEL_BUILDER(Name(CollectiveInCall(op).c_str())                 \
                              .Device(device)                                \
                              .TypeConstraint<type>("T"),                    \
                          kernel<type>)

// For the CPU too: outside_compilation may hold a collective.
#define TF_EMBED_ALL_REDUCE(type)                                            \
  TF_EMBED_REDUCTION("CrossReplicaSum", kTpuType, AllReduceOp, type);        \
  TF_EMBED_REDUCTION("CrossReplicaSum", tensorflow::DEVICE_CPU, AllReduceOp, \
                     type)
#define TF_EMBED_XLA_REDUCE(type)                                  \
  TF_EMBED_REDUCTION("XlaAllReduce", kTpuType, AllReduceOp, type); \
  TF_EMBED_REDUCTION("XlaReduceScatter", kTpuType, ReduceScatterOp, type)

TF_EMBED_ALL_REDUCE(Eigen::half);
TF_EMBED_ALL_REDUCE(Eigen::bfloat16);
TF_EMBED_ALL_REDUCE(float);
TF_EMBED_ALL_REDUCE(double);
TF_EMBED_ALL_REDUCE(int32_t);
TF_EMBED_ALL_REDUCE(uint32_t);

TF_EMBED_XLA_REDUCE(Eigen::half);
TF_EMBED_XLA_REDUCE(Eigen::bfloat16);
TF_EMBED_XLA_REDUCE(float);
TF_EMBED_XLA_REDUCE(int32_t);
TF_EMBED_XLA_REDUCE(uint32_t);

TF_EMBED_COLLECTIVE("AllToAll", kTpuType, AllToAllOp);
TF_EMBED_COLLECTIVE("AllToAll", tensorflow::DEVICE_CPU, AllToAllOp);
TF_EMBED_COLLECTIVE("CollectivePermute", kTpuType, CollectivePermuteOp);
TF_EMBED_COLLECTIVE("CollectivePermute", tensorflow::DEVICE_CPU,
                    CollectivePermuteOp);

#undef TF_EMBED_XLA_REDUCE
#undef TF_EMBED_ALL_REDUCE
#undef TF_EMBED_REDUCTION
#undef TF_EMBED_COLLECTIVE

}  // namespace
}  // namespace tf_embed::virtual_tpu
