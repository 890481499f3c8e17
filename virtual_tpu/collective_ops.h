#ifndef TF_EMBED_VIRTUAL_TPU_COLLECTIVE_OPS_H_
#define TF_EMBED_VIRTUAL_TPU_COLLECTIVE_OPS_H_

#include <algorithm>
#include <iterator>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace tf_embed::virtual_tpu {

// Ops in which replicas meet.
inline constexpr const char* kCollectives[] = {
    "CrossReplicaSum", "AllToAll",         "CollectivePermute",
    "XlaAllReduce",    "XlaReduceScatter",
};

// In a function that is called, not inlined, the same ops have an input more:
// the call. (See calls.h.)
inline constexpr char kInCallPrefix[] = "TfEmbedInCall";

inline std::string CollectiveInCall(const std::string& op) {
  return absl::StrCat(kInCallPrefix, op);
}

inline bool IsCollectiveInCall(const std::string& op) {
  return absl::StartsWith(op, kInCallPrefix);
}

inline bool IsCollective(const std::string& op) {
  return IsCollectiveInCall(op) ||
         std::find(std::begin(kCollectives), std::end(kCollectives), op) !=
             std::end(kCollectives);
}

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_COLLECTIVE_OPS_H_
