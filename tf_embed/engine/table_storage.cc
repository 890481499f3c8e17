#include "tf_embed/engine/table_storage.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

namespace tf_embed {
namespace {

// The bytes of a table by factors, or -1 where they can't be counted.
int64_t CountBytes(int64_t rows, int64_t dim, int64_t num_variables) {
  int64_t bytes = sizeof(float);
  for (int64_t factor : {rows, dim, num_variables}) {
    if (factor > std::numeric_limits<int64_t>::max() / bytes) return -1;
    bytes *= factor;
  }
  return bytes;
}

Status TooLarge(const TableConfig& config, int64_t num_variables,
                const std::string& bytes, int64_t available) {
  return ResourceExhausted("Table '", config.name, "' with ",
                           config.vocabulary_size, " rows of dimension ",
                           config.dimension, " and ", num_variables - 1,
                           " slot variables needs ", bytes, " bytes; ",
                           available, " are available.");
}

// What one thread fills or copies at a time is large against the cost of
// handing it over.
constexpr int64_t kMinBytesPerRange = 1 << 20;

// Rows that lie one behind the other both in a shard and in its table.
struct Block {
  int64_t local_row;
  int64_t table_row;
  int64_t num_rows;
};

// Cuts the rows of a shard into blocks: calls copy(block) for each.
template <class Copy>
void ForEachBlock(const ShardRows& shard, int64_t row_bytes, Executor& executor,
                  const Copy& copy) {
  ParallelRanges(executor, shard.count, kMinBytesPerRange / row_bytes,
                 [&](int64_t begin, int64_t end) {
                   if (shard.stride == 1) {
                     copy(Block{begin, shard.first + begin, end - begin});
                     return;
                   }
                   for (int64_t r = begin; r < end; ++r) {
                     copy(Block{r, shard.first + r * shard.stride, 1});
                   }
                 });
}

}  // namespace

Status TableStorage::PlanSize(const TableConfig& config,
                              int64_t available_bytes) {
  rows_ = config.vocabulary_size;
  dim_ = config.dimension;
  if (!std::holds_alternative<std::monostate>(config.optimizer.params)) {
    StatusOr<std::unique_ptr<const Optimizer>> optimizer =
        Optimizer::Create(config.optimizer);
    if (!optimizer.ok()) {
      return Status(
          optimizer.status().code(),
          StrCat("Table '", config.name, "': ", optimizer.status().message()));
    }
    optimizer_ = std::move(optimizer).value();
  }
  bytes_ = CountBytes(rows_, dim_, num_variables());
  if (bytes_ < 0) {
    return TooLarge(config, num_variables(), "more than 2^63", available_bytes);
  }
  if (bytes_ > available_bytes) {
    return TooLarge(config, num_variables(), std::to_string(bytes_),
                    available_bytes);
  }
  return OkStatus();
}

Status TableStorage::Allocate(const TableConfig& config, Executor& executor) {
  for (int v = 0; v < num_variables(); ++v) {
    StatusOr<AlignedBuffer> buffer = AlignedBuffer::Create(rows_ * dim_);
    if (!buffer.ok()) {
      return Status(
          buffer.status().code(),
          StrCat(TooLarge(config, num_variables(), std::to_string(bytes_),
                          AlignedBuffer::AvailableBytes())
                     .message(),
                 " ", buffer.status().message()));
    }
    variables_.push_back(std::move(buffer).value());
    pointers_.push_back(variables_.back().data());
    if (v == 0) continue;
    const float initial = optimizer_->slots()[v - 1].initial_value;
    // Memory that is not touched is zero already, and takes up none.
    if (initial == 0) continue;
    float* const values = pointers_.back();
    ParallelRanges(executor, rows_ * dim_, kMinBytesPerRange / sizeof(float),
                   [=](int64_t begin, int64_t end) {
                     std::fill(values + begin, values + end, initial);
                   });
  }
  return OkStatus();
}

void TableStorage::CopyFrom(const ShardRows& shard,
                            Span<const float* const> values,
                            Executor& executor) {
  ForEachBlock(shard, row_bytes(), executor, [&](const Block& block) {
    for (size_t v = 0; v < variables_.size(); ++v) {
      std::copy_n(values[v] + block.local_row * dim_, block.num_rows * dim_,
                  pointers_[v] + block.table_row * dim_);
    }
  });
}

void TableStorage::CopyTo(const ShardRows& shard, Span<float* const> values,
                          Executor& executor) const {
  ForEachBlock(shard, row_bytes(), executor, [&](const Block& block) {
    for (size_t v = 0; v < variables_.size(); ++v) {
      std::copy_n(pointers_[v] + block.table_row * dim_, block.num_rows * dim_,
                  values[v] + block.local_row * dim_);
    }
  });
}

MappedMemory TableStorage::Mapped() const {
  MappedMemory memory;
  for (const AlignedBuffer& variable : variables_) memory += variable.Mapped();
  return memory;
}

void TableStorage::Release() {
  pointers_.clear();
  variables_.clear();
}

StatusOr<std::vector<TableStorage>> PlanTables(const EngineConfig& config,
                                               int64_t available_bytes) {
  std::vector<TableStorage> tables;
  for (const TableConfig& table_config : config.tables) {
    TableStorage table;
    TF_EMBED_RETURN_IF_ERROR(table.PlanSize(table_config, available_bytes));
    available_bytes -= table.bytes();
    tables.push_back(std::move(table));
  }
  return tables;
}

Status AllocateTables(const EngineConfig& config,
                      std::vector<TableStorage>& tables, Executor& executor) {
  for (size_t t = 0; t < tables.size(); ++t) {
    TF_EMBED_RETURN_IF_ERROR(tables[t].Allocate(config.tables[t], executor));
  }
  return OkStatus();
}

}  // namespace tf_embed
