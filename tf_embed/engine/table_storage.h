#ifndef TF_EMBED_TF_EMBED_ENGINE_TABLE_STORAGE_H_
#define TF_EMBED_TF_EMBED_ENGINE_TABLE_STORAGE_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "tf_embed/base/aligned_buffer.h"
#include "tf_embed/base/executor.h"
#include "tf_embed/base/span.h"
#include "tf_embed/base/status.h"
#include "tf_embed/engine/config.h"
#include "tf_embed/engine/shard_layout.h"
#include "tf_embed/lookup/pooled_ids.h"
#include "tf_embed/optimizers/optimizer.h"

namespace tf_embed {

// The rows of one table, their slot variables, and what updates them. Not
// synchronized.
class TableStorage {
 public:
  TableStorage(TableStorage&&) = default;
  TableStorage& operator=(TableStorage&&) = default;

  // Null in an inference engine that names no optimizer.
  const Optimizer* optimizer() const { return optimizer_.get(); }
  // The parameters and the slot variables.
  int num_variables() const {
    return 1 + (optimizer_ == nullptr ? 0 : optimizer_->slots().size());
  }
  int64_t bytes() const { return bytes_; }
  MappedMemory Mapped() const;
  TableView view() const { return {rows_, dim_, pointers_[0], slots()}; }

  // `values[v]` to or from the given rows of variable v: [shard.count, dim].
  void CopyFrom(const ShardRows& shard, Span<const float* const> values,
                Executor& executor);
  void CopyTo(const ShardRows& shard, Span<float* const> values,
              Executor& executor) const;

  // Gives the memory back; the optimizer stays. No rows may be asked for after.
  void Release();

 private:
  friend StatusOr<std::vector<TableStorage>> PlanTables(
      const EngineConfig& config, int64_t available_bytes);
  friend Status AllocateTables(const EngineConfig& config,
                               std::vector<TableStorage>& tables,
                               Executor& executor);
  TableStorage() = default;

  Status PlanSize(const TableConfig& config, int64_t available_bytes);
  Status Allocate(const TableConfig& config, Executor& executor);
  // Of all variables.
  int64_t row_bytes() const { return num_variables() * dim_ * sizeof(float); }
  Span<float* const> slots() const {
    return Span<float* const>(pointers_.data() + 1, pointers_.size() - 1);
  }

  int64_t rows_ = 0;
  int64_t dim_ = 0;
  int64_t bytes_ = 0;
  std::unique_ptr<const Optimizer> optimizer_;
  std::vector<AlignedBuffer> variables_;
  std::vector<float*> pointers_;  // to variables_
};

// The tables of a populated config without their memory: everything that can
// be refused before anything is allocated.
StatusOr<std::vector<TableStorage>> PlanTables(const EngineConfig& config,
                                               int64_t available_bytes);

// Gives planned tables their memory: parameters 0, slots at their optimizer's
// initial value. ResourceExhausted if it is not there by now.
Status AllocateTables(const EngineConfig& config,
                      std::vector<TableStorage>& tables, Executor& executor);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_ENGINE_TABLE_STORAGE_H_
