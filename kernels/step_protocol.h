#ifndef TF_EMBED_KERNELS_STEP_PROTOCOL_H_
#define TF_EMBED_KERNELS_STEP_PROTOCOL_H_

#include <functional>
#include <memory>
#include <vector>

#include "tensorflow/core/framework/op_kernel.h"
#include "tf_embed/base/status.h"
#include "tf_embed/engine/engine.h"

namespace tf_embed {

// The engine's calls in terms of an op's context: what Recv and Send share
// with their Xla forms, in which one op receives and another looks up.

// Takes the oldest batch of each core. Calls `ready` exactly once: before this
// returns where the batches are there; else later, in a thread of the intra-op
// pool, so that `ready` may do heavy work. Ends with Cancelled when the step
// is cancelled, and with DeadlineExceeded after RecvTimeout(). The context
// must live until `ready` is called.
void ReceiveBatches(tensorflow::OpKernelContext* ctx,
                    const std::shared_ptr<Engine>& engine, CoreRange cores,
                    std::function<void(StatusOr<ReceivedBatches>)> ready);

// InvalidArgument unless the op has one output per activation.
Status CheckOutputCount(const EngineConfig& config, int num_outputs);

// Shape of feature f's activation: its input shape with the blocks of all
// cores one after the other, then the dimension of its table.
Status ActivationShape(const EngineConfig& config, int f, int num_cores,
                       tensorflow::TensorShape* shape);

// InvalidArgument unless there is a gradient of the right shape for each
// activation and a scalar for each dynamic tag.
Status CheckSendShapes(
    const EngineConfig& config, int num_cores,
    const std::vector<tensorflow::TensorShape>& gradients,
    const std::vector<tensorflow::TensorShape>& learning_rates);

// Allocates the outputs of the op and looks the batches up straight into them.
Status LookupIntoOutputs(tensorflow::OpKernelContext* ctx, Engine& engine,
                         CoreRange cores, const ReceivedBatches& batches);

// Checks and sends the gradients: inputs [0, num_gradients), then
// `num_learning_rates` scalars. Keeps references to the tensors, no copies,
// until the step is complete. batches: see Engine::Send.
Status SendGradients(tensorflow::OpKernelContext* ctx, Engine& engine,
                     CoreRange cores, int num_gradients, int num_learning_rates,
                     const ReceivedBatches* batches);

}  // namespace tf_embed

#endif  // TF_EMBED_KERNELS_STEP_PROTOCOL_H_
