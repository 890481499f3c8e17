#include "tf_embed/engine/table_storage.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tf_embed/base/executor.h"
#include "tf_embed/base/memory_info.h"
#include "tf_embed/base/thread_pool.h"
#include "tf_embed/engine/shard_layout.h"

namespace tf_embed {
namespace {

EngineConfig OneTable(int64_t rows, int64_t dim, OptimizerParams params) {
  EngineConfig config;
  TableConfig table;
  table.name = "t";
  table.vocabulary_size = rows;
  table.dimension = dim;
  table.optimizer.params = params;
  config.tables = {table};
  return config;
}

StatusOr<std::vector<TableStorage>> CreateTables(const EngineConfig& config,
                                                 Executor& executor) {
  auto tables = PlanTables(config, AlignedBuffer::AvailableBytes());
  if (tables.ok()) {
    TF_EMBED_RETURN_IF_ERROR(AllocateTables(config, *tables, executor));
  }
  return tables;
}

TEST(TableStorageTest, VariablesAreAlignedAndInitialised) {
  SerialExecutor serial;
  auto tables = CreateTables(OneTable(33, 5, MdlAdagradLightParams{}), serial);
  ASSERT_TRUE(tables.ok()) << tables.status().message();
  const TableStorage& table = (*tables)[0];
  EXPECT_EQ(table.num_variables(), 4);
  EXPECT_EQ(table.bytes(), 4 * 33 * 5 * 4);
  const TableView view = table.view();
  EXPECT_EQ(view.rows, 33);
  EXPECT_EQ(view.dim, 5);
  ASSERT_EQ(view.slots.size(), 3u);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(view.weights) % 64, 0u);
  for (int64_t i = 0; i < 33 * 5; ++i) {
    EXPECT_EQ(view.weights[i], 0.0f);
    for (int s = 0; s < 3; ++s) {
      EXPECT_EQ(view.slots[s][i], table.optimizer()->slots()[s].initial_value);
    }
  }
}

// Large enough for each thread to get several parts of it.
TEST(TableStorageTest, ThreadsFillAndCopyEachRowOnce) {
  constexpr int64_t kRows = 100003;
  constexpr int64_t kDim = 13;
  ThreadPool pool(3);
  auto tables = CreateTables(OneTable(kRows, kDim, AdagradParams{}), pool);
  ASSERT_TRUE(tables.ok()) << tables.status().message();
  TableStorage& table = (*tables)[0];
  const float* const slot = table.view().slots[0];
  EXPECT_EQ(std::count(slot, slot + kRows * kDim, 0.1f), kRows * kDim);

  std::vector<float> weights(kRows * kDim);
  std::iota(weights.begin(), weights.end(), 0.0f);  // exact below 2^24
  const std::vector<float> slots(weights.rbegin(), weights.rend());
  const float* const loaded[] = {weights.data(), slots.data()};
  table.CopyFrom({0, 1, kRows}, loaded, pool);

  for (ShardingStrategy strategy :
       {ShardingStrategy::kDiv, ShardingStrategy::kMod}) {
    for (int64_t shard = 0; shard < 2; ++shard) {
      const ShardRows rows = RowsOfShard(strategy, kRows, shard, 2);
      std::vector<float> got_weights(rows.count * kDim);
      std::vector<float> got_slots(rows.count * kDim);
      float* const got[] = {got_weights.data(), got_slots.data()};
      table.CopyTo(rows, got, pool);
      for (int64_t r = 0; r < rows.count; ++r) {
        for (int64_t k = 0; k < kDim; ++k) {
          const int64_t i = (rows.first + r * rows.stride) * kDim + k;
          ASSERT_EQ(got_weights[r * kDim + k], weights[i]);
          ASSERT_EQ(got_slots[r * kDim + k], slots[i]);
        }
      }
    }
  }
}

TEST(TableStorageTest, ViewsSurviveMoves) {
  SerialExecutor serial;
  auto created = CreateTables(OneTable(3, 2, AdagradParams{}), serial);
  ASSERT_TRUE(created.ok());
  std::vector<TableStorage> tables = std::move(created).value();
  const float* weights = tables[0].view().weights;
  const std::vector<TableStorage> moved = std::move(tables);
  EXPECT_EQ(moved[0].view().weights, weights);
}

// Nothing is allocated, so the error comes at once.
TEST(TableStorageTest, SizesAreCheckedBeforeAnythingIsAllocated) {
  SerialExecutor serial;
  EngineConfig config = OneTable(1000000000, 64, SgdParams{});
  config.tables.push_back(config.tables[0]);
  config.tables[0].vocabulary_size = 1000;
  config.tables[1].name = "big";
  config.tables[1].vocabulary_size = int64_t{1} << 50;
  config.tables[1].optimizer.params = AdamParams{0.9f, 0.999f, 1e-7f};
  const Status status = CreateTables(config, serial).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message().rfind(
                "Table 'big' with 1125899906842624 rows of dimension 64 and 2 "
                "slot variables needs 864691128455135232 bytes; ",
                0),
            0u)
      << status.message();
}

TEST(TableStorageTest, TablesMayTakeUpWhatIsAvailable) {
  const EngineConfig config = OneTable(1000, 8, SgdParams{});
  const int64_t bytes = 1000 * 8 * sizeof(float);
  EXPECT_EQ(PlanTables(config, bytes - 1).status().code(),
            StatusCode::kResourceExhausted);
  const Status status = PlanTables(config, bytes).status();
  EXPECT_TRUE(status.ok()) << status.message();
}

TEST(TableStorageTest, ReleasedMemoryIsThereForOthers) {
  SerialExecutor serial;
  const EngineConfig config = OneTable(1 << 20, 16, AdagradParams{});
  auto tables = CreateTables(config, serial);
  ASSERT_TRUE(tables.ok()) << tables.status().message();
  TableStorage& table = (*tables)[0];
  const MappedMemory mapped = table.Mapped();
  EXPECT_EQ(mapped.bytes, table.bytes());
  // The accumulators were filled, the parameters not touched.
  EXPECT_EQ(mapped.resident_bytes, table.bytes() / 2);
  table.Release();
  EXPECT_EQ(table.Mapped().bytes, 0);
  EXPECT_NE(table.optimizer(), nullptr);
}

// What was to be freed may still be held by somebody.
TEST(TableStorageTest, MemoryThatDidNotComeFreeIsAnError) {
  const int64_t available = AvailableMemoryBytes();
  const EngineConfig config = OneTable(available / 4 / 8 * 5, 8, SgdParams{});
  auto tables = PlanTables(config, 6 * available);
  ASSERT_TRUE(tables.ok()) << tables.status().message();
  SerialExecutor serial;
  const Status status = AllocateTables(config, *tables, serial);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find(" bytes of memory are available"),
            std::string::npos)
      << status.message();
}

TEST(TableStorageTest, TablesThatDoNotFitTogetherAreRefused) {
  SerialExecutor serial;
  EngineConfig config = OneTable(int64_t{1} << 24, 64, SgdParams{});
  config.tables.resize(4096, config.tables[0]);  // 16 TiB
  const Status status = CreateTables(config, serial).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message().rfind("Table 't' with 16777216 rows", 0), 0u)
      << status.message();
}

}  // namespace
}  // namespace tf_embed
