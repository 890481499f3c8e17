#ifndef TF_EMBED_VIRTUAL_TPU_ATTRIBUTES_H_
#define TF_EMBED_VIRTUAL_TPU_ATTRIBUTES_H_

namespace tf_embed::virtual_tpu {

// Attributes that tf.tpu.replicate leaves on nodes.
inline constexpr char kReplicateAttr[] = "_tpu_replicate";
inline constexpr char kOutsideCompilationAttr[] = "_xla_outside_compilation";
inline constexpr char kMapOutsideCompilationAttr[] =
    "_xla_map_outside_compilation";
inline constexpr char kCompilationStatusAttr[] = "_tpu_compilation_status";

// Left on a TPUReplicateMetadata by the caller of the function that it is in:
// the core of the first replica, where there is no device assignment.
inline constexpr char kFirstCoreAttr[] = "_tf_embed_first_core";

// Left on the nodes of an experimental_map_outside_compilation, also in what
// they call: which call it is.
inline constexpr char kMappedAttr[] = "_tf_embed_mapped";

// Attributes that the replica expansion leaves for the kernels.
inline constexpr char kReplicaAttr[] = "_tf_embed_replica";
inline constexpr char kNumReplicasAttr[] = "_tf_embed_num_replicas";
// The same for all replicas of one node, different for different nodes.
inline constexpr char kChannelAttr[] = "_tf_embed_channel";

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_ATTRIBUTES_H_
