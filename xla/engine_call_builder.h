#ifndef TF_EMBED_XLA_ENGINE_CALL_BUILDER_H_
#define TF_EMBED_XLA_ENGINE_CALL_BUILDER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "tensorflow/core/framework/tensor_shape.h"
#include "tf_embed/engine/config.h"
#include "tf_embed/engine/engine.h"
#include "xla/hlo/builder/xla_builder.h"
#include "xla/shape.h"

namespace tf_embed {

// Puts the calls of engine_calls.h into the program that a lowering builds.
// A lowering makes one in its constructor.
class EngineCallBuilder {
 public:
  // Reads the op's `config` and which cores it speaks for.
  static absl::StatusOr<std::unique_ptr<EngineCallBuilder>> Create(
      tensorflow::OpKernelConstruction* ctx);

  const EngineConfig& config() const { return config_; }
  CoreRange cores() const { return cores_; }

  // Shapes of the activations, one per feature.
  absl::StatusOr<std::vector<xla::Shape>> ActivationShapes() const;

  // Calls `target`, after every call that was put into this computation
  // before. `operands` and `results` go without the sequence; so does what is
  // returned. For programs of XLA:CPU.
  absl::StatusOr<std::vector<xla::XlaOp>> Call(
      tensorflow::XlaOpKernelContext* ctx, const char* target,
      std::vector<xla::XlaOp> operands, std::vector<xla::Shape> results) const;

 private:
  EngineCallBuilder() = default;

  std::string serialized_config_;
  EngineConfig config_;
  CoreRange cores_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_XLA_ENGINE_CALL_BUILDER_H_
