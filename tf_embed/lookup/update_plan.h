#ifndef TF_EMBED_TF_EMBED_LOOKUP_UPDATE_PLAN_H_
#define TF_EMBED_TF_EMBED_LOOKUP_UPDATE_PLAN_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tf_embed/lookup/contributions.h"
#include "tf_embed/lookup/sparse_update.h"
#include "tf_embed/lookup/sparse_update_internal.h"

namespace tf_embed {

enum class ContributionForm { kPlain, kWeighted, kWide };

// Calls fn with a contribution of the form, for its type.
template <class Fn>
void WithContribution(ContributionForm form, const Fn& fn) {
  switch (form) {
    case ContributionForm::kPlain:
      return fn(PlainContribution());
    case ContributionForm::kWeighted:
      return fn(WeightedContribution());
    case ContributionForm::kWide:
      return fn(WideContribution());
  }
}

// How the work of one table is cut up to be sorted.
struct TablePlan {
  const TableUpdate* update;
  int64_t num_contributions;
  int64_t num_bags;
  ContributionForm form;
  int id_bits;
  int64_t cost;
  // Rows are dealt to 2^bucket_bits buckets, each of which is one piece of
  // work: by their lowest bits, which spreads popular rows evenly, or, where
  // all rows are visited, by their highest, which leaves each a range.
  int bucket_bits;

  bool all_rows() const { return update->optimizer->UpdatesUntouchedRows(); }
  int64_t num_buckets() const { return int64_t{1} << bucket_bits; }
  int bucket_shift() const { return all_rows() ? id_bits - bucket_bits : 0; }
  int64_t BucketOf(uint64_t id) const {
    return id >> bucket_shift() & (num_buckets() - 1);
  }
  // The bits in which the rows of a bucket differ.
  int low_bit() const { return all_rows() ? 0 : bucket_bits; }
  int high_bit() const { return all_rows() ? bucket_shift() : id_bits; }
  RowRange RowsOf(int64_t bucket) const {
    const int64_t rows = update->table.rows;
    return {std::min(bucket << bucket_shift(), rows),
            std::min((bucket + 1) << bucket_shift(), rows)};
  }

  // Of a bucket, as MakePlan estimates it.
  int64_t bucket_cost() const { return cost >> bucket_bits; }
  // In bytes read and written, roughly: of a contribution, and of a row.
  int64_t contribution_cost() const {
    return update->table.dim * sizeof(float);
  }
  int64_t row_cost() const {
    return 2 * (1 + update->table.slots.size()) * contribution_cost();
  }
};

// The plan of a table, in one piece.
TablePlan MakePlan(const TableUpdate& update);

// Cuts tables so that no bucket is much more than its share of the work.
// Returns the cost up to which a bucket is sorted and updated in one go, by one
// thread, while what it has sorted is in its cache. The rows of larger ones are
// shared between threads after the sort, or all would wait for the last bucket.
int64_t CutTables(std::vector<TablePlan>& plans, int num_threads);

// fn(source, p, bag, scale) for bags [bag_begin, bag_end), in order: `bag` is
// position p of `source`.
template <class Fn>
void ForEachBag(const TableUpdate& update, int64_t bag_begin, int64_t bag_end,
                Fn fn) {
  int64_t first_bag = 0;
  for (const GradientSource& source : update.sources) {
    const PooledIds& ids = source.ids;
    const int64_t begin = std::max<int64_t>(bag_begin - first_bag, 0);
    const int64_t end = std::min(bag_end - first_bag, ids.num_positions);
    for (int64_t p = begin; p < end; ++p) {
      fn(source, p, first_bag + p, ids.scales.empty() ? 1.0f : ids.scales[p]);
    }
    first_bag += ids.num_positions;
  }
}

// emit(id, bag, coefficient) for the contributions of bags [bag_begin,
// bag_end), in the order in which they are added up.
template <class Emit>
void ForEachContribution(const TableUpdate& update, int64_t bag_begin,
                         int64_t bag_end, Emit emit) {
  ForEachBag(
      update, bag_begin, bag_end,
      [&](const GradientSource& source, int64_t p, int64_t bag, float scale) {
        const PooledIds& ids = source.ids;
        const int64_t id_end = ids.end(p);
        for (int64_t j = ids.begin(p); j < id_end; ++j) {
          const float weight = ids.weights.empty() ? 1.0f : ids.weights[j];
          emit(static_cast<uint64_t>(ids.ids[j]), bag, weight * scale);
        }
      });
}

// Fills in bags [bag_begin, bag_end).
void ListBags(const TableUpdate& update, int64_t bag_begin, int64_t bag_end,
              Bag* bags);

}  // namespace tf_embed

#endif  // TF_EMBED_TF_EMBED_LOOKUP_UPDATE_PLAN_H_
