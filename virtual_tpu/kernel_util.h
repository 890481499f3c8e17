#ifndef TF_EMBED_VIRTUAL_TPU_KERNEL_UTIL_H_
#define TF_EMBED_VIRTUAL_TPU_KERNEL_UTIL_H_

#include <functional>

#include "tensorflow/core/framework/op_kernel.h"

namespace tf_embed::virtual_tpu {

// Calls `cancel` when the op is cancelled, or now if it is already. Returns
// what must be called when the wait is over; it may be called at any time, also
// by `cancel`'s own consequences.
std::function<void()> OnCancellation(tensorflow::OpKernelContext* ctx,
                                     std::function<void()> cancel);

// The index of the device that the op runs on.
int DeviceIndex(tensorflow::OpKernelContext* ctx);

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_KERNEL_UTIL_H_
