#include "virtual_tpu/transfer_queue.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace tf_embed::virtual_tpu {
namespace {

struct Put {
  int called = 0;
  Status status;
  int64_t ticket = 0;

  Put(TransferQueue& queue, int value) : ticket(queue.NewTicket()) {
    queue.Put(ticket, std::make_shared<int>(value), [this](const Status& s) {
      ++called;
      status = s;
    });
  }
};

struct Take {
  int called = 0;
  int value = -1;
  Status status;
  int64_t ticket = 0;

  explicit Take(TransferQueue& queue) : ticket(queue.NewTicket()) {
    queue.Take(ticket, [this](StatusOr<TransferQueue::Item> item) {
      ++called;
      status = item.status();
      if (item.ok()) value = *static_cast<int*>(item.value().get());
    });
  }
};

TEST(TransferQueueTest, Items_ComeInOrder) {
  TransferQueue queue(4);
  Put a(queue, 1), b(queue, 2);
  EXPECT_EQ(a.called, 1);
  Take x(queue), y(queue);
  EXPECT_EQ(x.value, 1);
  EXPECT_EQ(y.value, 2);
}

TEST(TransferQueueTest, Take_WaitsForAnItem) {
  TransferQueue queue(4);
  Take x(queue), y(queue);
  EXPECT_EQ(x.called, 0);
  Put a(queue, 1);
  EXPECT_EQ(x.value, 1);
  EXPECT_EQ(y.called, 0);
  queue.Cancel(y.ticket);
}

TEST(TransferQueueTest, Put_WaitsForRoom) {
  TransferQueue queue(1);
  Put a(queue, 1), b(queue, 2);
  EXPECT_EQ(a.called, 1);
  EXPECT_EQ(b.called, 0);
  Take x(queue);
  EXPECT_EQ(x.value, 1);
  EXPECT_EQ(b.called, 1);
  Take y(queue);
  EXPECT_EQ(y.value, 2);
}

TEST(TransferQueueTest, Cancel_EndsAPutAndATake) {
  TransferQueue queue(1);
  Take x(queue);
  queue.Cancel(x.ticket);
  EXPECT_EQ(x.status.code(), StatusCode::kCancelled);
  Put a(queue, 1), b(queue, 2);
  queue.Cancel(b.ticket);
  EXPECT_EQ(b.status.code(), StatusCode::kCancelled);
  Take y(queue), z(queue);
  EXPECT_EQ(y.value, 1);   // what was put stays
  EXPECT_EQ(z.called, 0);  // what was cancelled is gone
  queue.Cancel(z.ticket);
}

TEST(TransferQueueTest, Cancel_BeforeTheCallIsNotLost) {
  TransferQueue queue(1);
  const int64_t ticket = queue.NewTicket();
  queue.Cancel(ticket);
  Status status;
  queue.Take(ticket, [&](StatusOr<TransferQueue::Item> item) {
    status = item.status();
  });
  EXPECT_EQ(status.code(), StatusCode::kCancelled);
}

TEST(TransferQueueTest, Reset_EmptiesAndAborts) {
  TransferQueue queue(1);
  Put a(queue, 1), b(queue, 2);
  queue.Reset();
  EXPECT_EQ(b.status.code(), StatusCode::kAborted);
  Take x(queue);
  EXPECT_EQ(x.called, 0);
  queue.Reset();
  EXPECT_EQ(x.status.code(), StatusCode::kAborted);
}

TEST(TransferQueueTest, Threads_NothingIsLost) {
  constexpr int kItems = 5000;
  TransferQueue queue(3);
  std::atomic<int> puts{0}, takes{0};
  std::atomic<int64_t> sum{0};
  std::thread putter([&] {
    for (int i = 0; i < kItems; ++i) {
      queue.Put(queue.NewTicket(), std::make_shared<int>(i),
                [&](const Status& s) { puts += s.ok(); });
    }
  });
  std::thread taker([&] {
    for (int i = 0; i < kItems; ++i) {
      queue.Take(queue.NewTicket(), [&](StatusOr<TransferQueue::Item> item) {
        sum += *static_cast<int*>(item.value().get());
        ++takes;
      });
    }
  });
  putter.join();
  taker.join();
  EXPECT_EQ(puts, kItems);
  EXPECT_EQ(takes, kItems);
  EXPECT_EQ(sum, int64_t{kItems} * (kItems - 1) / 2);
}

}  // namespace
}  // namespace tf_embed::virtual_tpu
