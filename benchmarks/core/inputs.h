#ifndef TF_EMBED_BENCHMARKS_CORE_INPUTS_H_
#define TF_EMBED_BENCHMARKS_CORE_INPUTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tf_embed/base/span.h"
#include "tf_embed/base/status.h"
#include "tf_embed/optimizers/optimizer_config.h"

namespace tf_embed {

// The ids of one batch: those of table 0, then of table 1, ...
struct BatchInput {
  std::vector<int64_t> ids;
  std::vector<int64_t> splits;  // [tables, batch + 1], into ids
  std::vector<float> weights;   // one per id, or empty
};

// What benchmarks/workloads.py wrote into a folder; see there.
struct Inputs {
  int64_t tables = 0;
  int64_t rows = 0;
  int64_t dim = 0;
  int64_t batch = 0;
  bool mean = false;
  bool one_id = false;  // each bag has exactly one id
  int threads = 1;
  OptimizerConfig optimizer;  // params: monostate where there is none

  std::vector<float> base;       // [base rows, dim]
  std::vector<float> gradients;  // [tables, batch, dim]
  std::vector<BatchInput> batches;

  // Writes table `table`, [rows, dim], to `out`.
  void Fill(int64_t table, float* out) const;

  Span<const int64_t> ids(const BatchInput& input, int64_t table) const;
  Span<const float> weights(const BatchInput& input, int64_t table) const;
  // From 0 on.
  std::vector<int64_t> splits(const BatchInput& input, int64_t table) const;
  const float* gradient(int64_t table) const {
    return gradients.data() + table * batch * dim;
  }
};

StatusOr<Inputs> ReadInputs(const std::string& folder);

}  // namespace tf_embed

#endif  // TF_EMBED_BENCHMARKS_CORE_INPUTS_H_
