#include "tf_embed/engine/batch_tickets.h"

#include <cstdint>
#include <memory>

#include "gtest/gtest.h"
#include "tf_embed/engine/received_batch.h"

namespace tf_embed {
namespace {

class BatchTicketsTest : public testing::Test {
 protected:
  static std::shared_ptr<ReceivedBatch> Batch(int core, int64_t step) {
    return std::make_shared<ReceivedBatch>(/*owner=*/0, core, step, nullptr);
  }

  int64_t Add(const std::shared_ptr<ReceivedBatch>& batch) {
    return tickets_.Add({engine_, {batch->core(), 1}, {batch}});
  }
  int64_t AddInference(int core) { return Add(Batch(core, -1)); }

  bool Find(int64_t ticket) const {
    BatchTickets::Entry entry;
    return tickets_.Find(ticket, &entry);
  }

  // Never called: only whether it still exists matters.
  std::shared_ptr<Engine> engine_{reinterpret_cast<Engine*>(this),
                                  [](Engine*) {}};
  BatchTickets tickets_;
};

TEST_F(BatchTicketsTest, ATicketIsFoundAsOftenAsItIsAskedFor) {
  const ReceivedBatches batches = {Batch(2, 7), Batch(3, -1)};
  const int64_t ticket = tickets_.Add({engine_, {2, 2}, batches});
  EXPECT_NE(ticket, 0);
  BatchTickets::Entry entry;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(tickets_.Find(ticket, &entry));
    EXPECT_EQ(entry.batches, batches);
    EXPECT_EQ(entry.cores.first, 2);
    EXPECT_EQ(entry.engine.lock(), engine_);
  }
}

TEST_F(BatchTicketsTest, WhatWasNeverGivenOutIsNotFound) {
  EXPECT_FALSE(Find(0));
  EXPECT_FALSE(Find(AddInference(0) + 1));
}

TEST_F(BatchTicketsTest, ATrainingBatchIsNotHeld) {
  std::shared_ptr<ReceivedBatch> batch = Batch(0, 0);
  const std::weak_ptr<ReceivedBatch> held = batch;
  const int64_t ticket = Add(batch);
  EXPECT_TRUE(Find(ticket));
  batch.reset();  // as the engine does once its gradients are applied
  EXPECT_TRUE(held.expired());
  EXPECT_FALSE(Find(ticket));
}

TEST_F(BatchTicketsTest, TrainingBatchesThatTheEngineHoldsAreAllFound) {
  ReceivedBatches batches;
  int64_t first = 0;
  for (int i = 0; i < 1000; ++i) {
    batches.push_back(Batch(0, i));
    const int64_t ticket = Add(batches.back());
    if (i == 0) first = ticket;
  }
  EXPECT_TRUE(Find(first));
}

TEST_F(BatchTicketsTest, TheOldestInferenceBatchesOfACoreAreForgotten) {
  const int64_t other_core = AddInference(1);
  const std::shared_ptr<ReceivedBatch> training = Batch(0, 0);
  const int64_t trained = Add(training);
  const int64_t first = AddInference(0);
  int64_t last = 0;
  for (int i = 0; i < 8; ++i) last = AddInference(0);
  EXPECT_FALSE(Find(first));
  EXPECT_TRUE(Find(first + 1));
  EXPECT_TRUE(Find(last));
  EXPECT_TRUE(Find(other_core));
  EXPECT_TRUE(Find(trained));
}

TEST_F(BatchTicketsTest, TicketsOfAReplacedEngineAreForgotten) {
  const int64_t old = AddInference(0);
  engine_.reset();
  EXPECT_FALSE(Find(old));
}

}  // namespace
}  // namespace tf_embed
