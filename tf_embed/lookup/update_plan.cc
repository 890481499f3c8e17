#include "tf_embed/lookup/update_plan.h"

#include <limits>

namespace tf_embed {
namespace {

int BitWidth(uint64_t x) { return x == 0 ? 0 : 64 - __builtin_clzll(x); }

int64_t NumContributions(const PooledIds& ids) {
  return ids.end(ids.num_positions - 1) - ids.begin(0);
}

int64_t Cost(const TablePlan& plan) {
  constexpr int64_t kSortCost = 64;  // of a contribution, to pack and sort it
  const int64_t table_rows = plan.update->table.rows;
  const int64_t rows = plan.all_rows()
                           ? table_rows
                           : std::min(table_rows, plan.num_contributions);
  return plan.num_contributions * (plan.contribution_cost() + kSortCost) +
         rows * plan.row_cost();
}

}  // namespace

TablePlan MakePlan(const TableUpdate& update) {
  TablePlan plan = {};
  plan.update = &update;
  bool weighted = false;
  for (const GradientSource& source : update.sources) {
    if (source.ids.num_positions == 0) continue;
    plan.num_contributions += NumContributions(source.ids);
    plan.num_bags += source.ids.num_positions;
    weighted |= !source.ids.weights.empty();
  }
  plan.id_bits = BitWidth(update.table.rows - 1);
  constexpr int64_t kMax32 = std::numeric_limits<uint32_t>::max();
  const bool wide = update.table.rows > kMax32 || plan.num_bags > kMax32 ||
                    plan.num_contributions >= kMax32;
  plan.form = wide       ? ContributionForm::kWide
              : weighted ? ContributionForm::kWeighted
                         : ContributionForm::kPlain;
  plan.cost = Cost(plan);
  return plan;
}

int64_t CutTables(std::vector<TablePlan>& plans, int num_threads) {
  // Two threads, dim 64: 3 tables of a million rows took 1.17x as long, and one
  // of 4 million 1.14x, without sharing; 26 of 100,000 rows that are shared
  // take 1.23x as long (Zipf ids).
  constexpr int64_t kBucketsPerThread = 2;
  constexpr int64_t kWholePerThread = 4;
  constexpr int64_t kMinCost = 1 << 20;  // an estimate, not tuned
  constexpr int kMaxBucketBits = 8;
  if (num_threads == 1) return std::numeric_limits<int64_t>::max();
  int64_t total = 0;
  for (const TablePlan& plan : plans) total += plan.cost;
  const auto share = [&](int64_t per_thread) {
    const int64_t share = total / (num_threads * per_thread);
    return std::max(share + share / 2, kMinCost);
  };
  for (TablePlan& plan : plans) {
    plan.bucket_bits = std::min({BitWidth(plan.cost / share(kBucketsPerThread)),
                                 plan.id_bits, kMaxBucketBits});
  }
  return share(kWholePerThread);
}

void ListBags(const TableUpdate& update, int64_t bag_begin, int64_t bag_end,
              Bag* bags) {
  ForEachBag(
      update, bag_begin, bag_end,
      [&](const GradientSource& source, int64_t p, int64_t bag, float scale) {
        bags[bag] = {source.gradients + p * update.table.dim, scale};
      });
}

}  // namespace tf_embed
