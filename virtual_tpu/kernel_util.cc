#include "virtual_tpu/kernel_util.h"

#include "tensorflow/core/framework/cancellation.h"

namespace tf_embed::virtual_tpu {

std::function<void()> OnCancellation(tensorflow::OpKernelContext* ctx,
                                     std::function<void()> cancel) {
  tensorflow::CancellationManager* manager = ctx->cancellation_manager();
  if (manager == nullptr) return [] {};
  const tensorflow::CancellationToken token = manager->get_cancellation_token();
  if (!manager->RegisterCallback(token, cancel)) {
    cancel();
    return [] {};
  }
  // Try: it must not wait for a cancellation that is waiting for us.
  return [manager, token] { manager->TryDeregisterCallback(token); };
}

int DeviceIndex(tensorflow::OpKernelContext* ctx) {
  return ctx->device()->parsed_name().id;
}

}  // namespace tf_embed::virtual_tpu
