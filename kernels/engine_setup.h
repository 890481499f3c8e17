#ifndef TF_EMBED_KERNELS_ENGINE_SETUP_H_
#define TF_EMBED_KERNELS_ENGINE_SETUP_H_

#include <memory>
#include <string>

#include "tf_embed/base/executor.h"
#include "tf_embed/base/status.h"
#include "tf_embed/engine/engine.h"

namespace tf_embed {

// The life of the process's engine, as the configuration ops control it.

// Builds an engine for a serialized TPUEmbeddingConfiguration and makes it the
// active one. What was there before is shut down; on error it stays, unless the
// error is that its memory did not come free.
Status ConfigureEngine(const std::string& serialized_config,
                       Executor& executor);

// Shuts the active engine down, if there is one.
void TearDownEngine();

// Whether an engine is active and, where `serialized_config` is not empty, was
// configured with an equal proto.
bool IsConfigured(const std::string& serialized_config);

// The active engine, or FailedPrecondition.
StatusOr<std::shared_ptr<Engine>> RequireEngine();

}  // namespace tf_embed

#endif  // TF_EMBED_KERNELS_ENGINE_SETUP_H_
