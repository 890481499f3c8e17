#include "virtual_tpu/sharding.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "xla/xla_data.pb.h"

namespace tf_embed::virtual_tpu {

int Sharding::OwnerOf(int piece) const {
  const auto it = std::find(piece_of.begin(), piece_of.end(), piece);
  return it == piece_of.end() ? 0 : static_cast<int>(it - piece_of.begin());
}

absl::Status ParseSharding(const std::string& serialized, int num_cores,
                           Sharding* sharding) {
  xla::OpSharding proto;
  if (!proto.ParseFromString(serialized)) {
    return absl::InvalidArgumentError(
        "a sharding is not a serialized xla.OpSharding");
  }
  *sharding = {{}, std::vector<int>(num_cores, 0)};
  if (proto.type() == xla::OpSharding::REPLICATED ||
      proto.type() == xla::OpSharding::MAXIMAL) {
    return absl::OkStatus();
  }
  bool simple = proto.type() == xla::OpSharding::OTHER;
  for (int type : proto.last_tile_dims()) {
    simple &= type == xla::OpSharding::REPLICATED;
  }
  for (int i = 0; i < proto.iota_transpose_perm_size(); ++i) {
    simple &= proto.iota_transpose_perm(i) == i;
  }
  if (!simple) {
    return absl::UnimplementedError(absl::StrCat(
        "the virtual TPU does not know the sharding ", proto.ShortDebugString(),
        ": neither whole, nor split into tiles of which each core has one"));
  }
  std::vector<int> grid(proto.tile_assignment_dimensions().begin(),
                        proto.tile_assignment_dimensions().end());
  int pieces = 1;
  for (int n : grid) pieces *= n;
  if (pieces != num_cores) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a sharding is for ", pieces, " cores, but a replica has ", num_cores));
  }
  // Cores along the last of these dimensions have the same piece.
  int copies = 1;
  const int repeated =
      proto.replicate_on_last_tile_dim() ? 1 : proto.last_tile_dims_size();
  for (int i = 0; i < repeated; ++i) {
    copies *= grid.back();
    grid.pop_back();
  }
  for (int tile = 0; tile < num_cores; ++tile) {
    const int core = proto.tile_assignment_devices_size() == num_cores
                         ? static_cast<int>(proto.tile_assignment_devices(tile))
                         : tile;
    if (core < 0 || core >= num_cores) {
      return absl::InvalidArgumentError(
          absl::StrCat("a sharding names core ", core, ", must be from 0 to ",
                       num_cores - 1));
    }
    sharding->piece_of[core] = tile / copies;
  }
  const bool split =
      std::any_of(grid.begin(), grid.end(), [](int n) { return n > 1; });
  if (split) sharding->grid = std::move(grid);
  return absl::OkStatus();
}

}  // namespace tf_embed::virtual_tpu
