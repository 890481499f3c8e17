#ifndef TF_EMBED_XLA_LOWERING_REGISTRATION_H_
#define TF_EMBED_XLA_LOWERING_REGISTRATION_H_

#include <string>
#include <vector>

namespace tensorflow {
class OpKernel;
class OpKernelConstruction;
}  // namespace tensorflow

namespace tf_embed {

struct LoweringEntry {
  std::string op;
  tensorflow::OpKernel* (*create)(tensorflow::OpKernelConstruction*);
  // Inputs whose values must be known when the program is compiled.
  std::vector<std::string> constant_inputs = {};
  bool calls_engine = false;
};

template <typename Kernel>
tensorflow::OpKernel* CreateLowering(tensorflow::OpKernelConstruction* ctx) {
  return new Kernel(ctx);
}

// A file's table of lowerings, registered when the plugin is loaded for every
// XLA device, but not for ops that the running TensorFlow can lower itself, as
// that of a TPU host does.
class LoweringTable {
 public:
  explicit LoweringTable(const std::vector<LoweringEntry>& entries);
};

// Whether the entry of an op in some table says so.
bool CallsEngine(const std::string& op);

}  // namespace tf_embed

#endif  // TF_EMBED_XLA_LOWERING_REGISTRATION_H_
