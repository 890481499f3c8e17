#include "kernels/output_memory.h"

#include <new>
#include <utility>

#include "absl/status/status.h"
#include "kernels/status_bridge.h"
#include "tensorflow/core/framework/tensor.h"
#include "tf_embed/base/aligned_buffer.h"

namespace tf_embed {
namespace {

using ::tensorflow::Tensor;

// Smaller blocks the C library keeps by itself.
constexpr size_t kMinBytes = 128 << 10;
// A step of a few replicas; more than that is work enough to outweigh faults.
constexpr size_t kMaxFreeBytes = 256 << 20;

constexpr size_t kHeaderBytes = tensorflow::Allocator::kAllocatorAlignment;

// The outputs of a step share a chunk. A block that would take up more than
// half of one has a chunk of its own.
constexpr size_t kChunkBytes = 8 << 20;

size_t RoundUp(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

// Sizes are rounded up to one of eight in each octave, so that outputs whose
// sizes vary from step to step share blocks.
size_t SizeClass(size_t bytes) {
  size_t unit = 1;
  while (bytes >= 16 * unit) unit *= 2;
  return RoundUp(RoundUp(bytes, unit), kHeaderBytes);
}

RecyclingAllocator& OutputAllocator() {
  // Never destroyed: tensors may outlive everything.
  static auto* const allocator = new RecyclingAllocator(kMaxFreeBytes);
  return *allocator;
}

}  // namespace

struct RecyclingAllocator::Chunk {
  AlignedBuffer memory;
  size_t used = 0;  // bytes that were cut off
  int blocks = 0;   // alive, free ones included

  size_t size() const { return memory.size() * sizeof(float); }
};

RecyclingAllocator::~RecyclingAllocator() {
  DiscardFreeBlocks();
  if (current_ != nullptr && current_->blocks == 0) delete current_;
}

RecyclingAllocator::Header* RecyclingAllocator::Cut(size_t size) {
  const bool alone = size > kChunkBytes / 2;
  Chunk* chunk = alone ? nullptr : current_;
  if (chunk == nullptr || chunk->used + size > chunk->size()) {
    StatusOr<AlignedBuffer> memory =
        AlignedBuffer::Create((alone ? size : kChunkBytes) / sizeof(float));
    if (!memory.ok()) return nullptr;
    chunk = new Chunk{std::move(memory).value()};
    if (!alone) {
      if (current_ != nullptr && current_->blocks == 0) delete current_;
      current_ = chunk;
    }
  }
  char* const begin =
      reinterpret_cast<char*>(chunk->memory.data()) + chunk->used;
  chunk->used += size;
  ++chunk->blocks;
  return new (begin) Header{size, chunk};
}

void RecyclingAllocator::Discard(Header* block) {
  Chunk* const chunk = block->chunk;
  if (--chunk->blocks > 0) return;
  if (chunk == current_) {
    chunk->used = 0;
  } else {
    delete chunk;
  }
}

void RecyclingAllocator::DiscardFreeBlocks() {
  for (const auto& [size, blocks] : free_) {
    for (Header* block : blocks) Discard(block);
  }
  free_.clear();
  free_bytes_ = 0;
}

void* RecyclingAllocator::AllocateRaw(size_t alignment, size_t num_bytes) {
  static_assert(sizeof(Header) <= kHeaderBytes);
  if (alignment > kHeaderBytes) return nullptr;
  const size_t size = SizeClass(num_bytes + kHeaderBytes);
  std::lock_guard<std::mutex> lock(mutex_);
  std::vector<Header*>& blocks = free_[size];
  Header* block = nullptr;
  if (blocks.empty()) {
    block = Cut(size);
    if (block == nullptr) return nullptr;
  } else {
    block = blocks.back();
    blocks.pop_back();
    free_bytes_ -= size;
  }
  return reinterpret_cast<char*>(block) + kHeaderBytes;
}

void RecyclingAllocator::DeallocateRaw(void* data) {
  if (data == nullptr) return;
  Header* const block =
      reinterpret_cast<Header*>(static_cast<char*>(data) - kHeaderBytes);
  const size_t size = block->size;
  std::lock_guard<std::mutex> lock(mutex_);
  if (size > max_free_bytes_) return Discard(block);
  // What is kept is of other sizes than what is asked for: begin anew.
  if (free_bytes_ + size > max_free_bytes_) DiscardFreeBlocks();
  free_[size].push_back(block);
  free_bytes_ += size;
}

size_t RecyclingAllocator::free_bytes() {
  std::lock_guard<std::mutex> lock(mutex_);
  return free_bytes_;
}

absl::Status AllocateOutput(tensorflow::OpKernelContext* ctx, int index,
                            const tensorflow::TensorShape& shape,
                            Tensor** output) {
  const tensorflow::DataType type = ctx->expected_output_dtype(index);
  const size_t bytes = shape.num_elements() * tensorflow::DataTypeSize(type);
  // A scoped allocator has a place for this output.
  const bool is_scoped = ctx->output_alloc_attr(index).scope_id > 0;
  if (bytes < kMinBytes || is_scoped) {
    return ctx->allocate_output(index, shape, output);
  }
  Tensor tensor(&OutputAllocator(), type, shape);
  if (!tensor.IsInitialized()) {
    return ToAbsl(ResourceExhausted("Not enough memory for output ", index,
                                    " with shape ", shape.DebugString(), "."));
  }
  ctx->set_output(index, std::move(tensor));
  *output = ctx->mutable_output(index);
  return absl::OkStatus();
}

}  // namespace tf_embed
