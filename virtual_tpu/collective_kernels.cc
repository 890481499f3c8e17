// Collectives between replicas: every one is a meeting of its group.

#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/util/work_sharder.h"
#include "virtual_tpu/attributes.h"
#include "virtual_tpu/device_names.h"
#include "virtual_tpu/kernel_util.h"
#include "virtual_tpu/meeting_point.h"

namespace tf_embed::virtual_tpu {
namespace {

using tensorflow::AsyncOpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using Contexts = std::vector<OpKernelContext*>;

MeetingPoint& Meetings() {
  static auto* meetings = new MeetingPoint;
  return *meetings;
}

class CollectiveOp : public AsyncOpKernel {
 public:
  explicit CollectiveOp(OpKernelConstruction* ctx) : AsyncOpKernel(ctx) {
    channel_ = name();
    if (ctx->HasAttr(kReplicaAttr)) {
      OP_REQUIRES_OK(ctx, ctx->GetAttr(kReplicaAttr, &replica_));
    }
    if (ctx->HasAttr(kNumReplicasAttr)) {
      OP_REQUIRES_OK(ctx, ctx->GetAttr(kNumReplicasAttr, &num_replicas_));
    }
    if (ctx->HasAttr(kChannelAttr)) {
      OP_REQUIRES_OK(ctx, ctx->GetAttr(kChannelAttr, &channel_));
    }
    if (ctx->HasAttr(kSharesStepAttr)) {
      OP_REQUIRES_OK(ctx, ctx->GetAttr(kSharesStepAttr, &shares_step_));
    }
  }

 protected:
  // Members of a group, in the order that the collective's result has.
  struct Group {
    int index = 0;  // among the groups of the assignment
    int position = 0;
    int size = 0;
  };
  // Runs once for the whole group, in the thread of the last member.
  using Work = std::function<absl::Status(const Contexts&)>;

  int Replica(OpKernelContext* ctx) const {
    return replica_ >= 0 ? replica_ : DeviceIndex(ctx);
  }
  int num_replicas() const { return num_replicas_; }

  // The row of a [groups, members] assignment that has this replica.
  absl::Status FindGroup(OpKernelContext* ctx, const Tensor& assignment,
                         Group* group) const {
    if (assignment.dims() != 2) {
      return absl::InvalidArgumentError(absl::StrCat(
          name(), ": group_assignment has shape ",
          assignment.shape().DebugString(), ", must be [groups, members]"));
    }
    const int me = Replica(ctx);
    const auto members = assignment.matrix<int32_t>();
    for (int i = 0; i < assignment.dim_size(0); ++i) {
      for (int j = 0; j < assignment.dim_size(1); ++j) {
        if (members(i, j) != me) continue;
        *group = {i, j, static_cast<int>(assignment.dim_size(1))};
        return absl::OkStatus();
      }
    }
    return absl::InvalidArgumentError(absl::StrCat(
        name(), ": replica ", me, " is in no group of group_assignment ",
        assignment.SummarizeValue(assignment.NumElements())));
  }

  void Meet(OpKernelContext* ctx, const Group& group, Work work,
            DoneCallback done) const {
    // Loops are expanded with one iteration at a time, so that the iteration
    // of the innermost and the order of arrival tell the rounds apart.
    const std::string key =
        absl::StrCat(shares_step_ ? ctx->step_id() : 0, ";",
                     shares_step_ ? ctx->frame_iter().iter_id : 0, ";",
                     channel_, ";", group.index);
    MeetingPoint& meetings = Meetings();
    const int64_t ticket = meetings.NewTicket();
    auto over = OnCancellation(ctx, [ticket] { Meetings().Cancel(ticket); });
    meetings.Arrive(
        ticket, key, group.position, group.size, ctx,
        [work = std::move(work)](const std::vector<void*>& payloads) {
          Contexts contexts;
          contexts.reserve(payloads.size());
          for (void* payload : payloads) {
            contexts.push_back(static_cast<OpKernelContext*>(payload));
          }
          const absl::Status status = work(contexts);
          return Status(static_cast<StatusCode>(status.code()),
                        std::string(status.message()));
        },
        [ctx, over = std::move(over),
         done = std::move(done)](const Status& status) {
          over();
          if (!status.ok()) ctx->SetStatus(ToAbsl(status));
          done();
        });
  }

  absl::Status CheckShapes(const Contexts& members) const {
    const TensorShape& first = members[0]->input(0).shape();
    for (const OpKernelContext* member : members) {
      const TensorShape& shape =
          const_cast<OpKernelContext*>(member)->input(0).shape();
      if (shape != first) {
        return absl::InvalidArgumentError(
            absl::StrCat(name(), ": the replicas' inputs have the shapes ",
                         first.DebugString(), " and ", shape.DebugString(),
                         ", must be the same"));
      }
    }
    return absl::OkStatus();
  }

 private:
  int replica_ = -1;  // from the device where the graph doesn't say
  int num_replicas_ = 1;
  bool shares_step_ = true;
  std::string channel_;
};

// Narrow floats are summed in float, and rounded once.
template <typename T>
struct Wide {
  using type = T;
};
template <>
struct Wide<Eigen::half> {
  using type = float;
};
template <>
struct Wide<Eigen::bfloat16> {
  using type = float;
};

enum class Reduction { kAdd, kMean, kMul, kMin, kMax };

bool ParseReduction(const std::string& name, Reduction* reduction) {
  static const auto* const names =
      new std::map<std::string, Reduction>{{"Add", Reduction::kAdd},
                                           {"Mean", Reduction::kMean},
                                           {"Mul", Reduction::kMul},
                                           {"Min", Reduction::kMin},
                                           {"Max", Reduction::kMax}};
  auto it = names->find(name);
  if (it == names->end()) return false;
  *reduction = it->second;
  return true;
}

template <typename W>
W Combine(Reduction reduction, W a, W b) {
  switch (reduction) {
    case Reduction::kAdd:
    case Reduction::kMean:
      return a + b;
    case Reduction::kMul:
      return a * b;
    case Reduction::kMin:
      return b < a ? b : a;
    case Reduction::kMax:
      return a < b ? b : a;
  }
}

// Elements [begin, end) of the members' inputs, reduced one after the other in
// the order of the group: the result does not depend on who came last, nor on
// how the elements are shared out to threads.
template <typename T>
void ReduceRange(const std::vector<const T*>& inputs, Reduction reduction,
                 int64_t begin, int64_t end, T* result) {
  using W = typename Wide<T>::type;
  for (int64_t i = begin; i < end; ++i) {
    W value = static_cast<W>(inputs[0][i]);
    for (size_t m = 1; m < inputs.size(); ++m) {
      value = Combine(reduction, value, static_cast<W>(inputs[m][i]));
    }
    if (reduction == Reduction::kMean) {
      value = value / static_cast<W>(inputs.size());
    }
    result[i] = static_cast<T>(value);
  }
}

template <typename T>
Tensor Reduce(const Contexts& members, Reduction reduction) {
  Tensor result(tensorflow::DataTypeToEnum<T>::value,
                members[0]->input(0).shape());
  std::vector<const T*> inputs;
  for (OpKernelContext* member : members) {
    inputs.push_back(member->input(0).flat<T>().data());
  }
  T* out = result.flat<T>().data();
  const auto& workers = *members[0]->device()->tensorflow_cpu_worker_threads();
  tensorflow::Shard(workers.num_threads, workers.workers, result.NumElements(),
                    /*cost_per_unit=*/static_cast<int64_t>(inputs.size()),
                    [&](int64_t begin, int64_t end) {
                      ReduceRange(inputs, reduction, begin, end, out);
                    });
  return result;
}

template <typename T>
class AllReduceOp : public CollectiveOp {
 public:
  explicit AllReduceOp(OpKernelConstruction* ctx) : CollectiveOp(ctx) {
    if (!ctx->HasAttr("reduce_op")) return;  // CrossReplicaSum
    std::string name;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("reduce_op", &name));
    OP_REQUIRES(ctx, ParseReduction(name, &reduction_),
                absl::InvalidArgumentError(absl::StrCat(
                    "reduce_op is '", name,
                    "', must be one of Add, Mean, Mul, Min, Max")));
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

// Elements before, along and after a dimension, the latter in bytes.
struct Strides {
  int64_t outer = 1;
  int64_t size = 1;
  int64_t inner_bytes = 1;
};

Strides StridesOf(const TensorShape& shape, int dim, int64_t element_bytes) {
  Strides strides{1, shape.dim_size(dim), element_bytes};
  for (int i = 0; i < dim; ++i) strides.outer *= shape.dim_size(i);
  for (int i = dim + 1; i < shape.dims(); ++i) {
    strides.inner_bytes *= shape.dim_size(i);
  }
  return strides;
}

// Block `index` of `count` along `dim`.
Tensor Block(const Tensor& input, int dim, int index, int count) {
  TensorShape shape = input.shape();
  shape.set_dim(dim, shape.dim_size(dim) / count);
  Tensor block(input.dtype(), shape);
  const Strides s =
      StridesOf(shape, dim, tensorflow::DataTypeSize(input.dtype()));
  const int64_t bytes = s.size * s.inner_bytes;
  const auto* from = static_cast<const char*>(input.data());
  auto* to = static_cast<char*>(block.data());
  for (int64_t i = 0; i < s.outer; ++i) {
    std::memcpy(to + i * bytes, from + (i * count + index) * bytes, bytes);
  }
  return block;
}

// Puts a block to place `index` of `count` along `dim`.
void PutBlock(const Tensor& block, int dim, int index, int count,
              Tensor* output) {
  const Strides s =
      StridesOf(block.shape(), dim, tensorflow::DataTypeSize(block.dtype()));
  const int64_t bytes = s.size * s.inner_bytes;
  const auto* from = static_cast<const char*>(block.data());
  auto* to = static_cast<char*>(output->data());
  for (int64_t i = 0; i < s.outer; ++i) {
    std::memcpy(to + (i * count + index) * bytes, from + i * bytes, bytes);
  }
}

absl::Status CheckDivisible(const std::string& op, const TensorShape& shape,
                            int dim, int count) {
  if (dim < 0 || dim >= shape.dims() || shape.dim_size(dim) % count != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(op, ": dimension ", dim, " of shape ", shape.DebugString(),
                     " cannot be split into ", count));
  }
  return absl::OkStatus();
}

template <typename T>
class ReduceScatterOp : public CollectiveOp {
 public:
  explicit ReduceScatterOp(OpKernelConstruction* ctx) : CollectiveOp(ctx) {
    std::string name;
    OP_REQUIRES_OK(ctx, ctx->GetAttr("reduce_op", &name));
    OP_REQUIRES(ctx, ParseReduction(name, &reduction_),
                absl::InvalidArgumentError(absl::StrCat(
                    "reduce_op is '", name,
                    "', must be one of Add, Mean, Mul, Min, Max")));
  }

  void ComputeAsync(OpKernelContext* ctx, DoneCallback done) override {
    Group group;
    OP_REQUIRES_OK_ASYNC(ctx, FindGroup(ctx, ctx->input(1), &group), done);
    const int dim = ctx->input(2).scalar<int32_t>()();
    OP_REQUIRES_OK_ASYNC(
        ctx, CheckDivisible(name(), ctx->input(0).shape(), dim, group.size),
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
    OP_REQUIRES_ASYNC(ctx, group.size == split_count_,
                      absl::InvalidArgumentError(absl::StrCat(
                          name(), ": split_count is ", split_count_,
                          ", must be the group size ", group.size)),
                      done);
    OP_REQUIRES_OK_ASYNC(
        ctx,
        CheckDivisible(name(), ctx->input(0).shape(), split_dim_, group.size),
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
    const int n = num_replicas();
    std::vector<int> source(n, -1);  // of each target
    OP_REQUIRES_OK_ASYNC(ctx, ParsePairs(ctx->input(1), &source), done);
    // All replicas run the op, also those that neither send nor receive.
    Meet(
        ctx, Group{0, Replica(ctx), n},
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

// For the CPU too: outside_compilation may hold a collective.
#define TF_EMBED_COLLECTIVE(op, device, kernel, type)                        \
  REGISTER_KERNEL_BUILDER(Name(op).Device(device).TypeConstraint<type>("T"), \
                          kernel<type>)
#define TF_EMBED_ALL_REDUCE(type)                                             \
  TF_EMBED_COLLECTIVE("CrossReplicaSum", kTpuType, AllReduceOp, type);        \
  TF_EMBED_COLLECTIVE("CrossReplicaSum", tensorflow::DEVICE_CPU, AllReduceOp, \
                      type)
#define TF_EMBED_XLA_REDUCE(type)                                   \
  TF_EMBED_COLLECTIVE("XlaAllReduce", kTpuType, AllReduceOp, type); \
  TF_EMBED_COLLECTIVE("XlaReduceScatter", kTpuType, ReduceScatterOp, type)

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

#undef TF_EMBED_XLA_REDUCE
#undef TF_EMBED_ALL_REDUCE
#undef TF_EMBED_COLLECTIVE

REGISTER_KERNEL_BUILDER(Name("AllToAll").Device(kTpuType), AllToAllOp);
REGISTER_KERNEL_BUILDER(Name("AllToAll").Device(tensorflow::DEVICE_CPU),
                        AllToAllOp);
REGISTER_KERNEL_BUILDER(Name("CollectivePermute").Device(kTpuType),
                        CollectivePermuteOp);
REGISTER_KERNEL_BUILDER(
    Name("CollectivePermute").Device(tensorflow::DEVICE_CPU),
    CollectivePermuteOp);

}  // namespace
}  // namespace tf_embed::virtual_tpu
