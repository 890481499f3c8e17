#ifndef TF_EMBED_TF_EMBED_ENGINE_SHARD_LAYOUT_H_
#define TF_EMBED_TF_EMBED_ENGINE_SHARD_LAYOUT_H_

#include <cstdint>

#include "tf_embed/engine/config.h"

namespace tf_embed {

// Where the rows of one shard lie in the table: local row r is row
// first + r * stride.
//
//   DIV: contiguous, the first (rows mod shards) shards have one row more.
//   MOD: row i belongs to shard (i mod shards).
struct ShardRows {
  int64_t first = 0;
  int64_t stride = 1;
  int64_t count = 0;
};

inline ShardRows RowsOfShard(ShardingStrategy strategy, int64_t rows,
                             int64_t shard, int64_t num_shards) {
  const int64_t quotient = rows / num_shards;
  const int64_t rest = rows % num_shards;
  const int64_t count = quotient + (shard < rest ? 1 : 0);
  if (strategy == ShardingStrategy::kMod) return {shard, num_shards, count};
  return {shard * quotient + (shard < rest ? shard : rest), 1, count};
}

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_SHARD_LAYOUT_H_
