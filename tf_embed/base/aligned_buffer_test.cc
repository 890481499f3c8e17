#include "tf_embed/base/aligned_buffer.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tf_embed/base/memory_info.h"

namespace tf_embed {
namespace {

uintptr_t Address(const AlignedBuffer& buffer) {
  return reinterpret_cast<uintptr_t>(buffer.data());
}

TEST(AlignedBufferTest, IsZeroAndAlignedAtEverySize) {
  for (int64_t size : {1, 15, 16, 17, 1000, 524287, 524288, 600001}) {
    StatusOr<AlignedBuffer> buffer = AlignedBuffer::Create(size);
    ASSERT_TRUE(buffer.ok()) << buffer.status().message();
    EXPECT_EQ(buffer->size(), size);
    EXPECT_EQ(Address(*buffer) % AlignedBuffer::kAlignmentBytes, 0);
    for (float value : buffer->span()) ASSERT_EQ(value, 0.0f);
    buffer->data()[size - 1] = 1.0f;
  }
}

TEST(AlignedBufferTest, LargeOnesBeginOnAHugePage) {
  StatusOr<AlignedBuffer> buffer = AlignedBuffer::Create(1 << 20);
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(Address(*buffer) % (2 << 20), 0);
}

TEST(AlignedBufferTest, EmptyHasNoData) {
  StatusOr<AlignedBuffer> buffer = AlignedBuffer::Create(0);
  ASSERT_TRUE(buffer.ok());
  EXPECT_EQ(buffer->data(), nullptr);
  EXPECT_EQ(buffer->size(), 0);
}

TEST(AlignedBufferTest, MovingHandsTheMemoryOver) {
  for (int64_t size : {100, 1 << 20}) {
    AlignedBuffer a = std::move(AlignedBuffer::Create(size)).value();
    a.data()[7] = 3.0f;
    AlignedBuffer b = std::move(a);
    EXPECT_EQ(a.data(), nullptr);
    EXPECT_EQ(b.data()[7], 3.0f);
    AlignedBuffer c = std::move(AlignedBuffer::Create(5)).value();
    c = std::move(b);
    EXPECT_EQ(c.data()[7], 3.0f);
    EXPECT_EQ(c.size(), size);
  }
}

TEST(AlignedBufferTest, MoreThanTheMachineHasIsResourceExhausted) {
  const int64_t available = AvailableMemoryBytes();
  if (available == std::numeric_limits<int64_t>::max()) GTEST_SKIP();
  StatusOr<AlignedBuffer> buffer = AlignedBuffer::Create(available / 2);
  ASSERT_FALSE(buffer.ok());
  EXPECT_EQ(buffer.status().code(), StatusCode::kResourceExhausted);
  EXPECT_NE(buffer.status().message().find("of memory are available"),
            std::string::npos)
      << buffer.status().message();
}

TEST(AlignedBufferTest, UntouchedBuffersCountAgainstTheMemory) {
  const int64_t available = AvailableMemoryBytes();
  if (available == std::numeric_limits<int64_t>::max()) GTEST_SKIP();
  const int64_t quarter_floats = available / 4 / sizeof(float);
  std::vector<AlignedBuffer> buffers;
  for (int i = 0; i < 8; ++i) {
    StatusOr<AlignedBuffer> buffer = AlignedBuffer::Create(quarter_floats);
    if (!buffer.ok()) {
      EXPECT_EQ(buffer.status().code(), StatusCode::kResourceExhausted);
      EXPECT_GE(buffers.size(), 2);
      return;
    }
    buffers.push_back(std::move(buffer).value());
  }
  FAIL() << "eight quarters of the memory were handed out";
}

TEST(AlignedBufferTest, WhatIsFreedCountsWhetherTouchedOrNot) {
  const int64_t available = AvailableMemoryBytes();
  if (available == std::numeric_limits<int64_t>::max()) GTEST_SKIP();
  // More than the process has touched otherwise, which hides what is not.
  StatusOr<AlignedBuffer> buffer =
      AlignedBuffer::Create(available / 2 / sizeof(float));
  ASSERT_TRUE(buffer.ok()) << buffer.status().message();
  std::fill_n(buffer->data(), 1 << 24, 1.0f);
  const MappedMemory mapped = buffer->Mapped();
  EXPECT_GE(mapped.bytes, available / 2 - (2 << 20));
  EXPECT_EQ(mapped.resident_bytes, (1 << 24) * sizeof(float));
  const int64_t with = AlignedBuffer::AvailableBytes();
  const int64_t without = AlignedBuffer::AvailableBytes(mapped);
  constexpr int64_t kOfOthers = 512 << 20;  // memory moves meanwhile
  EXPECT_NEAR(without - with, mapped.bytes, kOfOthers);
  EXPECT_LE(without, available + kOfOthers);
}

TEST(AlignedBufferTest, AbsurdSizesAreErrors) {
  EXPECT_EQ(AlignedBuffer::Create(-1).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_EQ(AlignedBuffer::Create(std::numeric_limits<int64_t>::max())
                .status()
                .code(),
            StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace tf_embed
