#include "kernels/output_memory.h"

#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <random>
#include <utility>

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

// Blocks of many sizes, which must not overlap, from chunks that come and go.
TEST(RecyclingAllocator, BlocksAreApart) {
  RecyclingAllocator allocator(4 << 20);
  std::mt19937 rng(1);
  std::map<char*, std::pair<size_t, char>> alive;
  for (int i = 0; i < 5000; ++i) {
    if (alive.size() < 40 && rng() % 2 == 0) {
      const size_t bytes = rng() % 20 == 0 ? 6'000'000 : 1 + rng() % 300'000;
      auto* const data =
          static_cast<char*>(allocator.AllocateRaw(kAlignment, bytes));
      const char value = static_cast<char>(i);
      std::memset(data, value, bytes);
      alive[data] = {bytes, value};
    } else if (!alive.empty()) {
      const auto it = std::next(alive.begin(), rng() % alive.size());
      const auto [bytes, value] = it->second;
      EXPECT_EQ(it->first[0], value);
      EXPECT_EQ(std::memcmp(it->first, it->first + 1, bytes - 1), 0);
      allocator.DeallocateRaw(it->first);
      alive.erase(it);
    }
  }
  for (const auto& [data, block] : alive) allocator.DeallocateRaw(data);
}

}  // namespace
}  // namespace tf_embed
