#include "tf_embed/engine/table_storage.h"

#include <cstdint>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tf_embed/base/memory_info.h"

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

StatusOr<std::vector<TableStorage>> CreateTables(const EngineConfig& config) {
  auto tables = PlanTables(config, /*reclaimable_bytes=*/0);
  if (tables.ok()) {
    TF_EMBED_RETURN_IF_ERROR(AllocateTables(config, *tables));
  }
  return tables;
}

TEST(TableStorageTest, VariablesAreAlignedAndInitialised) {
  auto tables = CreateTables(OneTable(33, 5, MdlAdagradLightParams{}));
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

TEST(TableStorageTest, ViewsSurviveMoves) {
  auto created = CreateTables(OneTable(3, 2, AdagradParams{}));
  ASSERT_TRUE(created.ok());
  std::vector<TableStorage> tables = std::move(created).value();
  const float* weights = tables[0].view().weights;
  const std::vector<TableStorage> moved = std::move(tables);
  EXPECT_EQ(moved[0].view().weights, weights);
}

// Nothing is allocated, so the error comes at once.
TEST(TableStorageTest, SizesAreCheckedBeforeAnythingIsAllocated) {
  EngineConfig config = OneTable(1000000000, 64, SgdParams{});
  config.tables.push_back(config.tables[0]);
  config.tables[0].vocabulary_size = 1000;
  config.tables[1].name = "big";
  config.tables[1].vocabulary_size = int64_t{1} << 50;
  config.tables[1].optimizer.params = AdamParams{0.9f, 0.999f, 1e-7f};
  const Status status = CreateTables(config).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message().rfind(
                "Table 'big' with 1125899906842624 rows of dimension 64 and 2 "
                "slot variables needs 864691128455135232 bytes; ",
                0),
            0u)
      << status.message();
}

// Each fits, but not all of them.
TEST(TableStorageTest, MemoryToBeFreedCountsAsFree) {
  const int64_t available = AvailableMemoryBytes();
  const EngineConfig config = OneTable(available / 4 / 8 * 5, 8, SgdParams{});
  EXPECT_EQ(PlanTables(config, 0).status().code(),
            StatusCode::kResourceExhausted);
  const Status status = PlanTables(config, 5 * available).status();
  EXPECT_TRUE(status.ok()) << status.message();
}

// What was to be freed may still be held by somebody.
TEST(TableStorageTest, MemoryThatDidNotComeFreeIsAnError) {
  const int64_t available = AvailableMemoryBytes();
  const EngineConfig config = OneTable(available / 4 / 8 * 5, 8, SgdParams{});
  auto tables = PlanTables(config, 5 * available);
  ASSERT_TRUE(tables.ok()) << tables.status().message();
  const Status status = AllocateTables(config, *tables);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_NE(status.message().find(" bytes of memory are available"),
            std::string::npos)
      << status.message();
}

TEST(TableStorageTest, TablesThatDoNotFitTogetherAreRefused) {
  EngineConfig config = OneTable(int64_t{1} << 24, 64, SgdParams{});
  config.tables.resize(4096, config.tables[0]);  // 16 TiB
  const Status status = CreateTables(config).status();
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message().rfind("Table 't' with 16777216 rows", 0), 0u)
      << status.message();
}

}  // namespace
}  // namespace tf_embed
