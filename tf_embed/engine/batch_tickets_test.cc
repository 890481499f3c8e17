#include "tf_embed/engine/batch_tickets.h"

#include <memory>

#include "gtest/gtest.h"

namespace tf_embed {
namespace {

class BatchTicketsTest : public testing::Test {
 protected:
  // Never called: only whether it still exists matters.
  std::shared_ptr<Engine> engine_{reinterpret_cast<Engine*>(this),
                                  [](Engine*) {}};
  BatchTickets tickets_;
};

TEST_F(BatchTicketsTest, ATicketIsFoundAsOftenAsItIsAskedFor) {
  const ReceivedBatches batches(3);
  const int64_t ticket = tickets_.Add({engine_, {}, batches});
  EXPECT_NE(ticket, 0);
  BatchTickets::Entry entry;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(tickets_.Find(ticket, &entry));
    EXPECT_EQ(entry.batches.size(), 3);
    EXPECT_EQ(entry.engine.lock(), engine_);
  }
}

TEST_F(BatchTicketsTest, WhatWasNeverGivenOutIsNotFound) {
  BatchTickets::Entry entry;
  EXPECT_FALSE(tickets_.Find(0, &entry));
  EXPECT_FALSE(tickets_.Find(tickets_.Add({engine_, {}, {}}) + 1, &entry));
}

TEST_F(BatchTicketsTest, TheOldestOfManyIsForgotten) {
  const int64_t first = tickets_.Add({engine_, {}, {}});
  int64_t last = 0;
  for (int i = 0; i < 256; ++i) last = tickets_.Add({engine_, {}, {}});
  BatchTickets::Entry entry;
  EXPECT_FALSE(tickets_.Find(first, &entry));
  EXPECT_TRUE(tickets_.Find(first + 1, &entry));
  EXPECT_TRUE(tickets_.Find(last, &entry));
}

TEST_F(BatchTicketsTest, TicketsOfAReplacedEngineAreForgotten) {
  const int64_t old = tickets_.Add({engine_, {}, {}});
  engine_.reset();
  tickets_.Add({engine_, {}, {}});
  BatchTickets::Entry entry;
  EXPECT_FALSE(tickets_.Find(old, &entry));
}

}  // namespace
}  // namespace tf_embed
