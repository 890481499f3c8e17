#include "c_api/c_api.h"

#include <memory>
#include <string>

#include "c_api/engine_stats_to_proto.h"
#include "proto/engine_stats.pb.h"
#include "tf_embed/base/executor.h"
#include "tf_embed/base/simd_targets.h"
#include "tf_embed/engine/engine.h"

void TfEmbed_EngineStats(void (*receive)(void* context, const char* data,
                                         size_t size),
                         void* context) {
  tf_embed::proto::EngineStats proto;
  if (auto engine = tf_embed::ActiveEngine()) {
    proto = tf_embed::EngineStatsToProto(engine->Stats());
  }
  const std::string serialized = proto.SerializeAsString();
  receive(context, serialized.data(), serialized.size());
}

int TfEmbed_Shutdown(const char* reason) {
  if (tf_embed::ActiveEngine() == nullptr) return 0;
  tf_embed::SetActiveEngine(nullptr, reason);
  return 1;
}

int64_t TfEmbed_DiscardBatches() {
  auto engine = tf_embed::ActiveEngine();
  if (engine == nullptr) return 0;
  tf_embed::SerialExecutor executor;
  const auto count = engine->DiscardBatches(executor);
  return count.ok() ? *count : 0;  // shut down meanwhile: nothing is left
}

const char* TfEmbed_SimdTarget() {
  return tf_embed::SimdTargetName(tf_embed::SupportedSimdTargets().front());
}
