#ifndef TF_EMBED_VIRTUAL_TPU_COLLECTIVE_OP_H_
#define TF_EMBED_VIRTUAL_TPU_COLLECTIVE_OP_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_embed::virtual_tpu {

using Contexts = std::vector<tensorflow::OpKernelContext*>;

// What all collectives do: they meet the other replicas of their group.
class CollectiveOp : public tensorflow::AsyncOpKernel {
 public:
  explicit CollectiveOp(tensorflow::OpKernelConstruction* ctx);

 protected:
  // The replicas of a group, in the order that the collective's result has.
  struct Group {
    int size() const { return static_cast<int>(members.size()); }

    std::vector<int> members;
    int position = 0;  // of this replica
  };
  // Runs once for the whole group, in the thread of the last member.
  using Work = std::function<absl::Status(const Contexts&)>;

  // All replicas of the computation, in their order.
  Group Everybody(tensorflow::OpKernelContext* ctx) const;

  // The row of a [groups, members] assignment that has this replica.
  absl::Status FindGroup(tensorflow::OpKernelContext* ctx,
                         const tensorflow::Tensor& assignment,
                         Group* group) const;

  void Meet(tensorflow::OpKernelContext* ctx, const Group& group, Work work,
            DoneCallback done) const;

  absl::Status CheckShapes(const Contexts& members) const;

 private:
  // Where the members meet: the same for each of them, and another one for
  // every time that they do.
  std::string Key(tensorflow::OpKernelContext* ctx) const;
  int Replica(tensorflow::OpKernelContext* ctx) const;
  // Whether every entry is a replica and none is there twice.
  absl::Status CheckGroups(const tensorflow::Tensor& assignment) const;

  int replica_ = -1;  // of no TPU computation
  int num_replicas_ = 1;
  bool in_call_ = false;  // the last input says in which
  std::string channel_;
};

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_COLLECTIVE_OP_H_
