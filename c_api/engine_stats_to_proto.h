#ifndef TF_EMBED_C_API_ENGINE_STATS_TO_PROTO_H_
#define TF_EMBED_C_API_ENGINE_STATS_TO_PROTO_H_

#include "proto/engine_stats.pb.h"
#include "tf_embed/engine/engine_stats.h"

namespace tf_embed {

// The counters of a configured engine.
proto::EngineStats EngineStatsToProto(const EngineStats& stats);

}  // namespace tf_embed

#endif  // TF_EMBED_C_API_ENGINE_STATS_TO_PROTO_H_
