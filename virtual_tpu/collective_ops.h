#ifndef TF_EMBED_VIRTUAL_TPU_COLLECTIVE_OPS_H_
#define TF_EMBED_VIRTUAL_TPU_COLLECTIVE_OPS_H_

#include <string>

namespace tf_embed::virtual_tpu {

// Ops in which replicas meet.
inline bool IsCollective(const std::string& op) {
  return op == "CrossReplicaSum" || op == "AllToAll" ||
         op == "CollectivePermute" || op == "XlaAllReduce" ||
         op == "XlaReduceScatter";
}

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_COLLECTIVE_OPS_H_
