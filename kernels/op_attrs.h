#ifndef TF_EMBED_KERNELS_OP_ATTRS_H_
#define TF_EMBED_KERNELS_OP_ATTRS_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "kernels/config_attr.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_embed {

// What several kernels read when they are constructed and from scalar inputs.

absl::Status ReadRequiredConfig(tensorflow::OpKernelConstruction* ctx,
                                std::unique_ptr<ConfigAttr>* config);
absl::Status ReadOptionalConfig(tensorflow::OpKernelConstruction* ctx,
                                std::unique_ptr<ConfigAttr>* config);

// Input `index`, which must be a scalar; `name` is for the message.
absl::Status ReadScalar(tensorflow::OpKernelContext* ctx, int index,
                        const char* name, std::string* value);
absl::Status ReadScalar(tensorflow::OpKernelContext* ctx, int index,
                        const char* name, int* value);

}  // namespace tf_embed

#endif  // TF_EMBED_KERNELS_OP_ATTRS_H_
