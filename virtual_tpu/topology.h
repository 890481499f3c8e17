#ifndef TF_EMBED_VIRTUAL_TPU_TOPOLOGY_H_
#define TF_EMBED_VIRTUAL_TPU_TOPOLOGY_H_

#include <array>
#include <vector>

namespace tf_embed::virtual_tpu {

// A mesh [x, y, z, core] of chips.
struct Mesh {
  std::array<int, 4> shape;
  std::vector<std::array<int, 4>> coordinates;  // of core 0, 1, ...
};

// An even number of cores is made of chips of two, laid out as squarely as the
// number allows, like the chips of a TPU v2 or v3: model parallelism asks for
// computation shapes such as [1, 1, 1, 2] and [2, 2, 1, 2]. An odd number is
// made of chips of one core.
Mesh MeshOf(int num_cores);

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_TOPOLOGY_H_
