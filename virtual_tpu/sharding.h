#ifndef TF_EMBED_VIRTUAL_TPU_SHARDING_H_
#define TF_EMBED_VIRTUAL_TPU_SHARDING_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace tf_embed::virtual_tpu {

// How a value is cut over the logical cores of a replica.
struct Sharding {
  // Number of pieces along each dimension, as AddSplitGrid takes it; empty if
  // every core has the whole.
  std::vector<int> grid;
  // The piece, in row-major order of the grid, that each logical core has.
  std::vector<int> piece_of;

  bool IsSplit() const { return !grid.empty(); }
  // A core that has the piece.
  int OwnerOf(int piece) const;
};

// Reads a serialized xla::OpSharding. InvalidArgument where it is for another
// number of cores, Unimplemented where parts of it are partitioned by hand.
absl::Status ParseSharding(const std::string& serialized, int num_cores,
                           Sharding* sharding);

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_SHARDING_H_
