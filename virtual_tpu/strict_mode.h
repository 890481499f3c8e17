#ifndef TF_EMBED_VIRTUAL_TPU_STRICT_MODE_H_
#define TF_EMBED_VIRTUAL_TPU_STRICT_MODE_H_

#include "virtual_tpu/cluster.h"

namespace tf_embed::virtual_tpu {

// Warns of what a real TPU would refuse in a lowered cluster, or leave to the
// host: an op that XLA has no kernel for, or not for these types. Once per op
// and reason, by name.
void WarnOfRefusals(const Cluster& cluster);

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_STRICT_MODE_H_
