#include "kernels/output_memory.h"

#include <cstdint>
#include <cstring>

#include "gtest/gtest.h"
#include "tensorflow/core/framework/tensor.h"

namespace tf_embed {
namespace {

constexpr size_t kAlignment = 64;

TEST(RecyclingAllocator, GivesOutTheBlockThatCameBack) {
  RecyclingAllocator allocator(1 << 20);
  void* const first = allocator.AllocateRaw(kAlignment, 100'000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first) % kAlignment, 0);
  std::memset(first, 1, 100'000);
  allocator.DeallocateRaw(first);
  EXPECT_GE(allocator.free_bytes(), 100'000);
  // A bit smaller: the same class of sizes.
  void* const second = allocator.AllocateRaw(kAlignment, 99'000);
  EXPECT_EQ(second, first);
  EXPECT_EQ(allocator.free_bytes(), 0);
  void* const third = allocator.AllocateRaw(kAlignment, 99'000);
  EXPECT_NE(third, second);
  allocator.DeallocateRaw(second);
  allocator.DeallocateRaw(third);
}

TEST(RecyclingAllocator, WastesAnEighthAtTheMost) {
  for (size_t bytes : {1000, 100'000, 131'072, 1'000'001}) {
    RecyclingAllocator allocator(size_t{1} << 30);
    allocator.DeallocateRaw(allocator.AllocateRaw(kAlignment, bytes));
    EXPECT_GE(allocator.free_bytes(), bytes);
    EXPECT_LE(allocator.free_bytes(), (bytes + kAlignment) * 9 / 8);
  }
}

TEST(RecyclingAllocator, KeepsNoMoreThanItsLimit) {
  RecyclingAllocator allocator(1 << 20);
  void* blocks[20];
  for (void*& block : blocks)
    block = allocator.AllocateRaw(kAlignment, 100'000);
  for (void* block : blocks) {
    allocator.DeallocateRaw(block);
    EXPECT_LE(allocator.free_bytes(), 1 << 20);
  }
  EXPECT_GT(allocator.free_bytes(), 0);
  // Larger than all that may be kept.
  allocator.DeallocateRaw(allocator.AllocateRaw(kAlignment, 2 << 20));
  EXPECT_LE(allocator.free_bytes(), 1 << 20);
}

TEST(RecyclingAllocator, TensorsGiveTheirMemoryBack) {
  RecyclingAllocator allocator(1 << 20);
  const void* first;
  {
    tensorflow::Tensor tensor(&allocator, tensorflow::DT_FLOAT, {100, 64});
    first = tensor.data();
    const tensorflow::Tensor shared = tensor;
    tensor = tensorflow::Tensor();
    EXPECT_EQ(allocator.free_bytes(), 0);  // `shared` has it
  }
  EXPECT_GT(allocator.free_bytes(), 0);
  const tensorflow::Tensor again(&allocator, tensorflow::DT_FLOAT, {100, 64});
  EXPECT_EQ(again.data(), first);
}

}  // namespace
}  // namespace tf_embed
