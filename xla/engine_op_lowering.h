#ifndef TF_EMBED_XLA_ENGINE_OP_LOWERING_H_
#define TF_EMBED_XLA_ENGINE_OP_LOWERING_H_

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tensorflow/compiler/tf2xla/xla_op_kernel.h"
#include "xla/engine_call_builder.h"
#include "xla/hlo/builder/xla_builder.h"
#include "xla/libtpu_computations.h"
#include "xla/lowering_registration.h"

namespace tf_embed {

// An op that receives from the embedding engine or sends to it.
struct EngineOp {
  // What XLA:CPU calls for it: a name of engine_calls.h.
  const char* call;
  // Its list of gradients, which learning rates follow; null: it receives.
  const char* gradients;
  // Whether deduplication data are its last input. If not, the op is of the
  // plain forms, which a TPU host usually rewrites before it compiles them.
  bool takes_data;
  enum Output { kNothing, kData, kActivations } output;
};

// Lowers each of them: on XLA:CPU to a call into the engine, for a TPU to the
// computation that libtpu gives.
class EngineOpLowering : public tensorflow::XlaOpKernel {
 public:
  EngineOpLowering(tensorflow::OpKernelConstruction* ctx, const EngineOp& op);

  void Compile(tensorflow::XlaOpKernelContext* ctx) override;

 private:
  struct Inputs {
    std::vector<xla::XlaOp> gradients;
    std::vector<xla::XlaOp> learning_rates;
    std::optional<xla::XlaOp> data;
  };

  absl::StatusOr<Inputs> ReadInputs(tensorflow::XlaOpKernelContext* ctx) const;
  // Both give the outputs of the op.
  absl::StatusOr<std::vector<xla::XlaOp>> CallEngine(
      tensorflow::XlaOpKernelContext* ctx, const Inputs& inputs) const;
  absl::StatusOr<std::vector<xla::XlaOp>> CallLibtpu(
      tensorflow::XlaOpKernelContext* ctx, Inputs inputs) const;

  const EngineOp& op_;
  std::unique_ptr<EngineCallBuilder> calls_;
  std::optional<LibtpuComputations> libtpu_;
};

// For a LoweringTable.
template <const EngineOp& kOp>
LoweringEntry EngineOpEntry(const char* name) {
  const auto create =
      [](tensorflow::OpKernelConstruction* ctx) -> tensorflow::OpKernel* {
    return new EngineOpLowering(ctx, kOp);
  };
  return {name, create, /*constant_inputs=*/{}, /*calls_engine=*/true};
}

}  // namespace tf_embed

#endif  // TF_EMBED_XLA_ENGINE_OP_LOWERING_H_
