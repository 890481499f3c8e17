#include "virtual_tpu/collective_op.h"

#include <cstdint>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/status_bridge.h"
#include "virtual_tpu/attributes.h"
#include "virtual_tpu/collective_ops.h"
#include "virtual_tpu/kernel_util.h"
#include "virtual_tpu/meeting_point.h"

namespace tf_embed::virtual_tpu {

using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

namespace {

MeetingPoint& Meetings() {
  static auto* meetings = new MeetingPoint;
  return *meetings;
}

}  // namespace

CollectiveOp::CollectiveOp(OpKernelConstruction* ctx)
    : AsyncOpKernel(ctx),
      in_call_(IsCollectiveInCall(ctx->def().op())),
      channel_(name()) {
  if (ctx->HasAttr(kReplicaAttr)) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr(kReplicaAttr, &replica_));
  }
  if (ctx->HasAttr(kNumReplicasAttr)) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr(kNumReplicasAttr, &num_replicas_));
  }
  if (ctx->HasAttr(kChannelAttr)) {
    OP_REQUIRES_OK(ctx, ctx->GetAttr(kChannelAttr, &channel_));
  }
}

int CollectiveOp::Replica(OpKernelContext* ctx) const {
  return replica_ >= 0 ? replica_ : DeviceIndex(ctx);
}

CollectiveOp::Group CollectiveOp::Everybody(OpKernelContext* ctx) const {
  Group group{std::vector<int>(num_replicas_), Replica(ctx)};
  std::iota(group.members.begin(), group.members.end(), 0);
  return group;
}

absl::Status CollectiveOp::CheckGroups(const Tensor& assignment) const {
  std::vector<bool> named(num_replicas_);
  const auto replicas = assignment.flat<int32_t>();
  for (int i = 0; i < replicas.size(); ++i) {
    const int replica = replicas(i);
    if (replica < 0 || replica >= num_replicas_) {
      return absl::InvalidArgumentError(
          absl::StrCat(name(), ": group_assignment names replica ", replica,
                       ", outside of 0 to ", num_replicas_ - 1));
    }
    if (named[replica]) {
      return absl::InvalidArgumentError(
          absl::StrCat(name(), ": group_assignment names replica ", replica,
                       " a second time"));
    }
    named[replica] = true;
  }
  return absl::OkStatus();
}

absl::Status CollectiveOp::FindGroup(OpKernelContext* ctx,
                                     const Tensor& assignment,
                                     Group* group) const {
  if (assignment.dims() != 2) {
    return absl::InvalidArgumentError(absl::StrCat(
        name(), ": group_assignment has shape ",
        assignment.shape().DebugString(), ", must be [groups, members]"));
  }
  if (replica_ >= 0) TF_RETURN_IF_ERROR(CheckGroups(assignment));
  const int me = Replica(ctx);
  const auto members = assignment.matrix<int32_t>();
  for (int i = 0; i < assignment.dim_size(0); ++i) {
    for (int j = 0; j < assignment.dim_size(1); ++j) {
      if (members(i, j) != me) continue;
      const int32_t* first = &members(i, 0);
      *group = {{first, first + assignment.dim_size(1)}, j};
      return absl::OkStatus();
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      name(), ": replica ", me, " is in no group of group_assignment ",
      assignment.SummarizeValue(assignment.NumElements())));
}

std::string CollectiveOp::Key(OpKernelContext* ctx) const {
  // Replicas share a step, but not in a function: each call is a step of its
  // own there. Loops are expanded with one iteration at a time, so that the
  // iteration of the innermost and the order of arrival tell the rounds apart.
  const int64_t step =
      in_call_ ? ctx->input(ctx->num_inputs() - 1).scalar<int64_t>()()
               : ctx->step_id();
  return absl::StrCat(in_call_ ? "call " : "step ", step, ";",
                      ctx->frame_iter().iter_id, ";", channel_);
}

void CollectiveOp::Meet(OpKernelContext* ctx, const Group& group, Work work,
                        DoneCallback done) const {
  // Nobody would ever come.
  OP_REQUIRES_ASYNC(ctx, replica_ >= 0 || group.size() == 1,
                    absl::InvalidArgumentError(absl::StrCat(
                        name(), ": a collective of ", group.size(),
                        " replicas that is in no TPU computation")),
                    done);
  MeetingPoint& meetings = Meetings();
  const int64_t ticket = meetings.NewTicket();
  auto over = OnCancellation(ctx, [ticket] { Meetings().Cancel(ticket); });
  meetings.Arrive(
      ticket, Key(ctx), group.members, group.position, ctx,
      [work = std::move(work)](const std::vector<void*>& payloads) {
        Contexts contexts;
        contexts.reserve(payloads.size());
        for (void* payload : payloads) {
          contexts.push_back(static_cast<OpKernelContext*>(payload));
        }
        return FromAbsl(work(contexts));
      },
      [this, ctx, over = std::move(over),
       done = std::move(done)](const Status& status) {
        over();
        if (!status.ok()) {
          ctx->SetStatus(ToAbsl(
              Status(status.code(), StrCat(name(), ": ", status.message()))));
        }
        done();
      });
}

absl::Status CollectiveOp::CheckShapes(const Contexts& members) const {
  const TensorShape& first = members[0]->input(0).shape();
  for (const OpKernelContext* member : members) {
    const TensorShape& shape =
        const_cast<OpKernelContext*>(member)->input(0).shape();
    if (shape != first) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the replicas' inputs have the shapes ", first.DebugString(), " and ",
          shape.DebugString(), ", must be the same"));
    }
  }
  return absl::OkStatus();
}

}  // namespace tf_embed::virtual_tpu
