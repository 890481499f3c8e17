#include <algorithm>
#include <memory>

#include "benchmarks/core/system.h"
#include "tf_embed/lookup/memory_bandwidth.h"

namespace tf_embed {
namespace {

// As many rows as a batch has ids, from as much memory as the tables take.
RowPattern PatternOf(const Inputs& inputs) {
  int64_t ids = 0;
  for (const BatchInput& batch : inputs.batches) ids += batch.ids.size();
  ids /= std::max<int64_t>(inputs.batches.size(), 1);
  const int64_t row_bytes = inputs.dim * sizeof(float);
  return RowPattern{row_bytes, inputs.tables * inputs.rows * row_bytes,
                    /*rows_per_table=*/std::max<int64_t>(ids, 1),
                    std::max<int64_t>(ids / inputs.threads, 1)};
}

class ReadSystem : public System {
 public:
  explicit ReadSystem(const Inputs& inputs)
      : reader_(PatternOf(inputs), inputs.threads) {}

  Status Forward(int) override {
    reader_.Bandwidth();
    return OkStatus();
  }
  Status Step(int) override { return Unimplemented("reads have no steps"); }
  Span<const float> outputs() const override { return {}; }

 private:
  RandomRowReader reader_;
};

}  // namespace

std::unique_ptr<System> MakeReadSystem(const Inputs& inputs) {
  return std::make_unique<ReadSystem>(inputs);
}

}  // namespace tf_embed
