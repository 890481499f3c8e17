#include "kernels/output_memory.h"

#include <cstdlib>
#include <utility>

#include "absl/status/status.h"
#include "kernels/status_bridge.h"
#include "tensorflow/core/framework/tensor.h"

namespace tf_embed {
namespace {

using ::tensorflow::Tensor;

// Smaller blocks the C library keeps by itself.
constexpr size_t kMinBytes = 128 << 10;
// A step of a few replicas; more than that is work enough to outweigh faults.
constexpr size_t kMaxFreeBytes = 256 << 20;

constexpr size_t kHeaderBytes = tensorflow::Allocator::kAllocatorAlignment;

// Sizes are rounded up to one of eight in each octave, so that outputs whose
// sizes vary from step to step share blocks.
size_t SizeClass(size_t bytes) {
  size_t unit = 1;
  while (bytes >= 16 * unit) unit *= 2;
  return (bytes + unit - 1) / unit * unit;
}

size_t& SizeOf(void* block) { return *static_cast<size_t*>(block); }

RecyclingAllocator& OutputAllocator() {
  // Never destroyed: tensors may outlive everything.
  static auto* const allocator = new RecyclingAllocator(kMaxFreeBytes);
  return *allocator;
}

}  // namespace

RecyclingAllocator::~RecyclingAllocator() { FreeAll(free_); }

void RecyclingAllocator::FreeAll(const Blocks& blocks) {
  for (const auto& [size, of_size] : blocks) {
    for (void* block : of_size) std::free(block);
  }
}

void* RecyclingAllocator::AllocateRaw(size_t alignment, size_t num_bytes) {
  if (alignment > kHeaderBytes) return nullptr;
  const size_t size = SizeClass(num_bytes + kHeaderBytes);
  void* block = nullptr;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    std::vector<void*>& blocks = free_[size];
    if (!blocks.empty()) {
      block = blocks.back();
      blocks.pop_back();
      free_bytes_ -= size;
    }
  }
  if (block == nullptr) {
    const size_t whole = (size + kHeaderBytes - 1) / kHeaderBytes;
    block = std::aligned_alloc(kHeaderBytes, whole * kHeaderBytes);
    if (block == nullptr) return nullptr;
    SizeOf(block) = size;
  }
  return static_cast<char*>(block) + kHeaderBytes;
}

void RecyclingAllocator::DeallocateRaw(void* data) {
  if (data == nullptr) return;
  void* const block = static_cast<char*>(data) - kHeaderBytes;
  const size_t size = SizeOf(block);
  if (size > max_free_bytes_) return std::free(block);
  Blocks surplus;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (free_bytes_ + size > max_free_bytes_) {
      // What is kept is of other sizes than what is asked for: begin anew.
      surplus.swap(free_);
      free_bytes_ = 0;
    }
    free_[size].push_back(block);
    free_bytes_ += size;
  }
  FreeAll(surplus);
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
