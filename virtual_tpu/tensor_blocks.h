#ifndef TF_EMBED_VIRTUAL_TPU_TENSOR_BLOCKS_H_
#define TF_EMBED_VIRTUAL_TPU_TENSOR_BLOCKS_H_

#include <string>

#include "absl/status/status.h"
#include "tensorflow/core/framework/tensor.h"

namespace tf_embed::virtual_tpu {

// InvalidArgument, in the name of `op`, where `dim` does not exist or is no
// multiple of `count`.
absl::Status CheckDivisible(const std::string& op,
                            const tensorflow::TensorShape& shape, int dim,
                            int count);

// Block `index` of `count` along `dim`.
tensorflow::Tensor Block(const tensorflow::Tensor& input, int dim, int index,
                         int count);

// Puts a block to place `index` of `count` along `dim`.
void PutBlock(const tensorflow::Tensor& block, int dim, int index, int count,
              tensorflow::Tensor* output);

}  // namespace tf_embed::virtual_tpu

#endif  // TF_EMBED_VIRTUAL_TPU_TENSOR_BLOCKS_H_
