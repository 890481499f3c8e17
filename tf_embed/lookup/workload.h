#ifndef TF_EMBED_TF_EMBED_LOOKUP_WORKLOAD_H_
#define TF_EMBED_TF_EMBED_LOOKUP_WORKLOAD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tf_embed/lookup/pooled_ids.h"

namespace tf_embed {

// The inputs that all benchmarks share, as docs and issues name them:
//   W1  one id a bag into 26 tables of 100k rows (DLRM-like)
//   W2  bags of 1 to 39 ids, 20 on average, into 8 tables of 1M rows
//   W3  10 ids a bag into 3 tables of 100k rows, small batches (serving)
enum class IdDistribution {
  kUniform,
  kZipf,  // exponent 1.05; which row has which rank is scattered
};

struct WorkloadSpec {
  std::string name;
  int64_t num_tables = 1;
  int64_t rows = 1;
  int64_t dim = 1;
  int64_t batch = 1;
  int64_t min_bag = 1;
  int64_t max_bag = 1;  // the size of a bag is uniform in [min_bag, max_bag]
  bool weighted = false;
  bool mean = false;
};

WorkloadSpec W1();
WorkloadSpec W2Mean();
WorkloadSpec W2Weighted();
WorkloadSpec W3(int64_t batch);

// One batch for one table. Its views live as long as it does.
struct WorkloadBag {
  std::vector<int64_t> offsets;  // empty where every bag has one id
  std::vector<int64_t> ids;
  std::vector<float> weights;
  std::vector<float> scales;

  PooledIds View(int64_t batch) const;
};

// One batch: a WorkloadBag per table.
using WorkloadBatch = std::vector<WorkloadBag>;

// The same arguments give the same batches, on every machine.
std::vector<WorkloadBatch> MakeBatches(const WorkloadSpec& spec,
                                       IdDistribution distribution,
                                       int num_batches, uint64_t seed);

int64_t NumIds(const WorkloadBatch& batch);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_LOOKUP_WORKLOAD_H_
