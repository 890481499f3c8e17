#ifndef TF_EMBED_VIRTUAL_TPU_SHARD_MAPPING_H_
#define TF_EMBED_VIRTUAL_TPU_SHARD_MAPPING_H_

#include "absl/status/status.h"
#include "tensorflow/core/graph/graph.h"
#include "virtual_tpu/cluster.h"

namespace tf_embed::virtual_tpu {

// Where a program computes with the shards of a value and not with the whole,
// sharding is no mere hint: such parts of a cluster are copied once per logical
// core, each copy gets its shards, and what they give is joined again.
//
// - Between auto_to_manual_spmd_partition and manual_to_auto_spmd_partition;
// - experimental_map_outside_compilation.
//
// The cluster is without functions. Unimplemented where a part writes a
// variable of the replica's, or its values leave the cluster unjoined.
absl::Status MapOverShards(Cluster* cluster, tensorflow::Graph* graph);

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_SHARD_MAPPING_H_
