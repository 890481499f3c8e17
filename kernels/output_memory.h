#ifndef TF_EMBED_KERNELS_OUTPUT_MEMORY_H_
#define TF_EMBED_KERNELS_OUTPUT_MEMORY_H_

#include <cstddef>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "tensorflow/core/framework/allocator.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_embed {

// As ctx->allocate_output, for activations and gradients of rows. Large ones
// take memory that earlier ones have given back: the C library gives it to the
// system, and page faults then cost more than the lookup that fills it.
absl::Status AllocateOutput(tensorflow::OpKernelContext* ctx, int index,
                            const tensorflow::TensorShape& shape,
                            tensorflow::Tensor** output);

// Keeps blocks that come back for requests of about the same size. Blocks are
// parts of chunks on huge pages: on small ones, writing the outputs of a lookup
// misses the TLB about as often as reading the rows. Thread-safe.
class RecyclingAllocator final : public tensorflow::Allocator {
 public:
  // max_free_bytes: how much of what nobody uses is kept.
  explicit RecyclingAllocator(size_t max_free_bytes)
      : max_free_bytes_(max_free_bytes) {}
  ~RecyclingAllocator() override;

  std::string Name() override { return "tf_embed_outputs"; }
  // alignment: at most 64.
  void* AllocateRaw(size_t alignment, size_t num_bytes) override;
  void DeallocateRaw(void* data) override;

  size_t free_bytes();

 private:
  struct Chunk;
  // What precedes the data of a block.
  struct Header {
    size_t size;  // of the block, header and all
    Chunk* chunk;
  };
  using FreeBlocks = std::unordered_map<size_t, std::vector<Header*>>;

  Header* Cut(size_t size);  // from a chunk; null: no memory
  void Discard(Header* block);
  void DiscardFreeBlocks();

  const size_t max_free_bytes_;
  std::mutex mutex_;
  FreeBlocks free_;  // by size
  size_t free_bytes_ = 0;
  Chunk* current_ = nullptr;  // has room left
};

}  // namespace tf_embed

#endif  // TF_EMBED_KERNELS_OUTPUT_MEMORY_H_
