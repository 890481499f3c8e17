#include "virtual_tpu/topology.h"

namespace tf_embed::virtual_tpu {

Mesh MeshOf(int num_cores) {
  const int cores_per_chip = num_cores % 2 == 0 ? 2 : 1;
  const int chips = num_cores / cores_per_chip;
  int x = 1;
  for (int i = 1; i * i <= chips; ++i) {
    if (chips % i == 0) x = i;
  }
  const int y = chips / x;
  // The longer side first: two chips are [2, 1, 1, 2].
  Mesh mesh{{y, x, 1, cores_per_chip}, {}};
  mesh.coordinates.reserve(num_cores);
  for (int core = 0; core < num_cores; ++core) {
    const int chip = core / cores_per_chip;
    mesh.coordinates.push_back({chip % y, chip / y, 0, core % cores_per_chip});
  }
  return mesh;
}

}  // namespace tf_embed::virtual_tpu
