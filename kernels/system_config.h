#ifndef TF_EMBED_KERNELS_SYSTEM_CONFIG_H_
#define TF_EMBED_KERNELS_SYSTEM_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_embed {

// What a ConfigureDistributedTPU, on whatever device, means for the engine.
class SystemConfig {
 public:
  // Reads the op's attributes.
  absl::Status Read(tensorflow::OpKernelConstruction* ctx);

  // A fresh TPU system has a fresh engine, or none.
  absl::Status Apply(tensorflow::OpKernelContext* ctx) const;

 private:
  std::string embedding_config_;
};

}  // namespace tf_embed

#endif  // TF_EMBED_KERNELS_SYSTEM_CONFIG_H_
