#ifndef TF_EMBED_KERNELS_KERNEL_REGISTRATION_H_
#define TF_EMBED_KERNELS_KERNEL_REGISTRATION_H_

#include <string>
#include <vector>

namespace tensorflow {
class OpKernel;
class OpKernelConstruction;
}  // namespace tensorflow

namespace tf_embed {

using CreateKernel =
    tensorflow::OpKernel* (*)(tensorflow::OpKernelConstruction*);

template <typename Kernel>
tensorflow::OpKernel* Create(tensorflow::OpKernelConstruction* ctx) {
  return new Kernel(ctx);
}

struct KernelEntry {
  std::string op;
  CreateKernel create;
};

// Registers each kernel for the device type, unless the running TensorFlow has
// one for that op and device already, as that of a TPU host does: two kernels
// for one (op, device) fail when the op runs. Returns the ops registered.
std::vector<std::string> RegisterMissingKernels(
    const std::string& device_type, const std::vector<KernelEntry>& entries);

// A file's table of kernels. Registers them for the CPU when the plugin is
// loaded.
class KernelTable {
 public:
  explicit KernelTable(const std::vector<KernelEntry>& entries);
};

}  // namespace tf_embed

#endif  // TF_EMBED_KERNELS_KERNEL_REGISTRATION_H_
