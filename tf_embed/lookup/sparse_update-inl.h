// Updates the rows of a table from contributions that are sorted by row.

// Per-target include guard.
#if defined(TF_EMBED_TF_EMBED_LOOKUP_SPARSE_UPDATE_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef TF_EMBED_TF_EMBED_LOOKUP_SPARSE_UPDATE_INL_H_
#undef TF_EMBED_TF_EMBED_LOOKUP_SPARSE_UPDATE_INL_H_
#else
#define TF_EMBED_TF_EMBED_LOOKUP_SPARSE_UPDATE_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "tf_embed/base/prefetch.h"
#include "tf_embed/lookup/contributions.h"
#include "tf_embed/lookup/row_sum-inl.h"
#include "tf_embed/lookup/sparse_update.h"
#include "tf_embed/lookup/sparse_update_internal.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// The terms that make up the gradient of a row: coefficient * gradient of a
// bag. kDim as in FloatRows.
template <class Contribution, int64_t kDim>
class GradientTerms {
 public:
  static constexpr bool kWeighted = true;

  explicit GradientTerms(const RowRuns<Contribution>& runs, int64_t dim)
      : runs_(runs), rows_(nullptr, dim) {}

  const FloatRows<kDim>& rows() const { return rows_; }
  HWY_INLINE const float* Row(int64_t j) const {
    return runs_.bags[runs_.contributions[j].bag()].gradient;
  }
  HWY_INLINE float Weight(int64_t j) const {
    return runs_.contributions[j].coefficient(runs_.bags);
  }
  HWY_INLINE void Prefetch(int64_t j) const {
    constexpr int64_t kAhead = 8;
    const int64_t last = runs_.num_contributions - 1;
    PrefetchRow<ToLevel1>(Row(std::min(j + kAhead, last)), rows_.row_bytes());
  }

 private:
  const RowRuns<Contribution> runs_;
  const FloatRows<kDim> rows_;
};

// Collects rows for the optimizer, a block at a time.
template <class Width, int64_t kDim, class Contribution>
class RowCollector {
 public:
  RowCollector(const TableUpdate& update, const RowRuns<Contribution>& runs,
               float* sums)
      : update_(update),
        runs_(runs),
        terms_(runs, update.table.dim),
        sums_(sums),
        block_rows_(BlockRows(update.table.dim)) {
    block_.rows = rows_;
    block_.gradients = gradients_;
    block_.scales = scales_;
    block_.weights = update.table.weights;
    block_.slots = update.table.slots.data();
    block_.dim = update.table.dim;
  }

  // A row with the gradients of a run.
  HWY_INLINE void AddRun(int64_t run) {
    const int64_t begin = runs_.begins[run];
    const int64_t end = runs_.begins[run + 1];
    const int64_t row = runs_.id(run);
    if (end - begin == 1) {
      terms_.Prefetch(begin);
      Add(row, terms_.Row(begin), terms_.Weight(begin));
      return;
    }
    const int64_t dim = update_.table.dim;
    float* const sum = sums_ + block_.num_rows * dim;
    Width::Sum(terms_, begin, end, nullptr, dim, sum);
    Add(row, sum, 1.0f);
  }

  HWY_INLINE void Add(int64_t row, const float* gradient, float scale) {
    rows_[block_.num_rows] = row;
    gradients_[block_.num_rows] = gradient;
    scales_[block_.num_rows] = scale;
    if (++block_.num_rows == block_rows_) Finish();
  }

  // The first rows, which nothing has fetched.
  void FetchFirstRuns() const {
    const TableView& table = update_.table;
    const int64_t num_runs = std::min(kFarAhead, runs_.num_runs);
    for (int64_t run = 0; run < num_runs; ++run) {
      const int64_t offset = runs_.id(run) * table.dim;
      const size_t bytes = table.dim * sizeof(float);
      PrefetchRow<ToLevel2>(table.weights + offset, bytes);
      for (float* slot : table.slots)
        PrefetchRow<ToLevel2>(slot + offset, bytes);
    }
  }

  // Rows that come after `run`, which the optimizer fetches meanwhile: fetched
  // here, a block at a time, they would have it wait.
  HWY_INLINE void FetchAfter(int64_t run) {
    const int64_t last = runs_.num_runs - 1;
    block_.far_rows = far_rows_;
    block_.near_rows = near_rows_;
    far_rows_[block_.num_rows] = runs_.id(std::min(run + kFarAhead, last));
    near_rows_[block_.num_rows] = runs_.id(std::min(run + kNearAhead, last));
  }

  HWY_INLINE void Finish() {
    if (block_.num_rows == 0) return;
    update_.optimizer->UpdateRows(update_.scalars, block_);
    block_.num_rows = 0;
  }

 private:
  static constexpr int64_t kFarAhead = 32;
  static constexpr int64_t kNearAhead = 4;

  const TableUpdate& update_;
  const RowRuns<Contribution>& runs_;
  const GradientTerms<Contribution, kDim> terms_;
  float* const sums_;
  const int64_t block_rows_;
  RowBlock block_;
  int64_t rows_[kMaxBlockRows];
  int64_t far_rows_[kMaxBlockRows];
  int64_t near_rows_[kMaxBlockRows];
  const float* gradients_[kMaxBlockRows];
  float scales_[kMaxBlockRows];
};

template <class Width, int64_t kDim, class Contribution>
HWY_NOINLINE void UpdateTouchedRows(const TableUpdate& update,
                                    const RowRuns<Contribution>& runs,
                                    float* sums) {
  RowCollector<Width, kDim, Contribution> collector(update, runs, sums);
  collector.FetchFirstRuns();
  for (int64_t run = 0; run < runs.num_runs; ++run) {
    collector.FetchAfter(run);
    collector.AddRun(run);
  }
  collector.Finish();
}

// Rows [begin, end), with gradient 0 where there is no contribution.
template <class Contribution>
HWY_NOINLINE void UpdateAllRows(const TableUpdate& update,
                                const RowRuns<Contribution>& runs,
                                int64_t begin, int64_t end, float* sums,
                                const float* zeros) {
  RowCollector<AnyWidth, 0, Contribution> collector(update, runs, sums);
  int64_t run = 0;
  for (int64_t row = begin; row < end; ++row) {
    if (run < runs.num_runs && runs.id(run) == row) {
      collector.AddRun(run++);
    } else {
      collector.Add(row, zeros, 1.0f);
    }
  }
  collector.Finish();
}

template <size_t kVecs, class Contribution>
HWY_INLINE void UpdateFixedWidth(const TableUpdate& update,
                                 const RowRuns<Contribution>& runs,
                                 float* sums) {
  constexpr int64_t kDim = kVecs * hn::MaxLanes(FloatTag());
  UpdateTouchedRows<FixedWidth<kVecs>, kDim>(update, runs, sums);
}

template <class Contribution>
HWY_INLINE void UpdateRows(const TableUpdate& update,
                           const RowRuns<Contribution>& runs,
                           const RowRange& range, float* sums,
                           const float* zeros) {
  const int64_t lanes = hn::Lanes(FloatTag());
  const int64_t dim = update.table.dim;
  if (update.optimizer->UpdatesUntouchedRows()) {
    UpdateAllRows(update, runs, range.begin, range.end, sums, zeros);
  } else if (runs.num_runs == 0) {
    return;
  } else if (dim == lanes) {
    UpdateFixedWidth<1>(update, runs, sums);
  } else if (dim == 2 * lanes) {
    UpdateFixedWidth<2>(update, runs, sums);
  } else if (dim == 4 * lanes) {
    UpdateFixedWidth<4>(update, runs, sums);
  } else if (dim == 8 * lanes) {
    UpdateFixedWidth<8>(update, runs, sums);
  } else {
    UpdateTouchedRows<AnyWidth, 0>(update, runs, sums);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
