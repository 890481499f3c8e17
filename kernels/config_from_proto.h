#ifndef TF_EMBED_KERNELS_CONFIG_FROM_PROTO_H_
#define TF_EMBED_KERNELS_CONFIG_FROM_PROTO_H_

#include <string>

#include "tf_embed/base/status.h"
#include "tf_embed/engine/config.h"

namespace tensorflow {
namespace tpu {
class TPUEmbeddingConfiguration;
}  // namespace tpu
}  // namespace tensorflow

namespace tf_embed {

// A serialized TPUEmbeddingConfiguration, as the `config` attributes hold it.
// InvalidArgument where the text is empty or is no such proto.
StatusOr<tensorflow::tpu::TPUEmbeddingConfiguration> ParseConfigProto(
    const std::string& serialized);

// The same facts without protobuf; neither populated nor checked beyond what
// has no counterpart in EngineConfig.
StatusOr<EngineConfig> ConfigFromProto(
    const tensorflow::tpu::TPUEmbeddingConfiguration& proto);

// Parsed, converted and populated.
StatusOr<EngineConfig> ParsePopulatedConfig(const std::string& serialized);

// The proto with what Populate derived from it, serialized: it has both the
// fields of the table dialect and those of the feature dialect.
std::string SerializePopulated(
    const EngineConfig& populated,
    tensorflow::tpu::TPUEmbeddingConfiguration proto);

// Parses, and takes the derived fields out again. One that was never populated
// is taken as it is.
StatusOr<tensorflow::tpu::TPUEmbeddingConfiguration> ParseUnpopulated(
    const std::string& serialized);

}  // namespace tf_embed

#endif  // TF_EMBED_KERNELS_CONFIG_FROM_PROTO_H_
