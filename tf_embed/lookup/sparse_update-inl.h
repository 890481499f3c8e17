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
#include "tf_embed/lookup/contributions.h"
#include "tf_embed/lookup/prefetch.h"
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
    constexpr int64_t kAhead = 6;
    const int64_t last = runs_.num_contributions - 1;
    PrefetchRow<ToLevel1>(Row(std::min(j + kAhead, last)), rows_.row_bytes());
  }

 private:
  const RowRuns<Contribution> runs_;
  const FloatRows<kDim> rows_;
};

// The rows of weights and slots, some runs ahead of their update.
template <class Contribution, int64_t kDim>
class RunPrefetcher {
 public:
  RunPrefetcher(const TableView& table, const RowRuns<Contribution>& runs)
      : table_(table), runs_(runs) {}

  HWY_INLINE void Continue(int64_t run) const {
    Fetch<ToLevel2>(run + kFarAhead);
    Fetch<ToLevel1>(run + kNearAhead);
  }

  HWY_INLINE void Start() const {
    for (int64_t run = 0; run < std::min(kFarAhead, runs_.num_runs); ++run) {
      Fetch<ToLevel2>(run);
    }
  }

 private:
  static constexpr int64_t kFarAhead = 32;
  static constexpr int64_t kNearAhead = 4;

  template <class Level>
  HWY_INLINE void Fetch(int64_t run) const {
    const int64_t dim = kDim > 0 ? kDim : table_.dim;
    const int64_t offset = runs_.id(std::min(run, runs_.num_runs - 1)) * dim;
    PrefetchRow<Level>(table_.weights + offset, dim * sizeof(float));
    for (float* slot : table_.slots) {
      PrefetchRow<Level>(slot + offset, dim * sizeof(float));
    }
  }

  const TableView table_;
  const RowRuns<Contribution> runs_;
};

// Calls the optimizer on one row.
class RowUpdater {
 public:
  explicit RowUpdater(const TableUpdate& update)
      : optimizer_(*update.optimizer),
        scalars_(update.scalars),
        table_(update.table) {}

  HWY_INLINE void Update(int64_t id, const float* gradient) const {
    const int64_t offset = id * table_.dim;
    float* slots[kMaxSlots];
    for (size_t i = 0; i < table_.slots.size(); ++i) {
      slots[i] = table_.slots[i] + offset;
    }
    optimizer_.UpdateRow(scalars_, gradient, table_.weights + offset, slots,
                         table_.dim);
  }

 private:
  const Optimizer& optimizer_;
  const StepScalars scalars_;
  const TableView table_;
};

// The accumulated gradient of a run, in `sum` or where it already is.
template <class Width, class Contribution, class Terms>
HWY_INLINE const float* GradientOfRun(const RowRuns<Contribution>& runs,
                                      const Terms& terms, int64_t run,
                                      int64_t dim, float* sum) {
  const int64_t begin = runs.begins[run];
  const int64_t end = runs.begins[run + 1];
  if (end - begin == 1 && terms.Weight(begin) == 1.0f) {
    terms.Prefetch(begin);
    return terms.Row(begin);
  }
  Width::Sum(terms, begin, end, nullptr, dim, sum);
  return sum;
}

template <class Width, int64_t kDim, class Contribution>
HWY_NOINLINE void UpdateTouchedRows(const TableUpdate& update,
                                    const RowRuns<Contribution>& runs,
                                    float* sum) {
  const GradientTerms<Contribution, kDim> terms(runs, update.table.dim);
  const RunPrefetcher<Contribution, kDim> prefetcher(update.table, runs);
  const RowUpdater updater(update);
  prefetcher.Start();
  for (int64_t run = 0; run < runs.num_runs; ++run) {
    prefetcher.Continue(run);
    updater.Update(runs.id(run), GradientOfRun<Width>(runs, terms, run,
                                                      update.table.dim, sum));
  }
}

// Rows [begin, end), with gradient 0 where there is no contribution.
template <class Contribution>
HWY_NOINLINE void UpdateAllRows(const TableUpdate& update,
                                const RowRuns<Contribution>& runs,
                                int64_t begin, int64_t end, float* sum,
                                const float* zeros) {
  const GradientTerms<Contribution, 0> terms(runs, update.table.dim);
  const RowUpdater updater(update);
  int64_t run = 0;
  for (int64_t id = begin; id < end; ++id) {
    const float* gradient = zeros;
    if (run < runs.num_runs && runs.id(run) == id) {
      gradient =
          GradientOfRun<AnyWidth>(runs, terms, run, update.table.dim, sum);
      ++run;
    }
    updater.Update(id, gradient);
  }
}

template <size_t kVecs, class Contribution>
HWY_INLINE void UpdateFixedWidth(const TableUpdate& update,
                                 const RowRuns<Contribution>& runs,
                                 float* sum) {
  constexpr int64_t kDim = kVecs * hn::MaxLanes(FloatTag());
  UpdateTouchedRows<FixedWidth<kVecs>, kDim>(update, runs, sum);
}

template <class Contribution>
HWY_INLINE void UpdateRows(const TableUpdate& update,
                           const RowRuns<Contribution>& runs,
                           const RowRange& range, float* sum,
                           const float* zeros) {
  const int64_t lanes = hn::Lanes(FloatTag());
  const int64_t dim = update.table.dim;
  if (update.optimizer->UpdatesUntouchedRows()) {
    UpdateAllRows(update, runs, range.begin, range.end, sum, zeros);
  } else if (runs.num_runs == 0) {
    return;
  } else if (dim == lanes) {
    UpdateFixedWidth<1>(update, runs, sum);
  } else if (dim == 2 * lanes) {
    UpdateFixedWidth<2>(update, runs, sum);
  } else if (dim == 4 * lanes) {
    UpdateFixedWidth<4>(update, runs, sum);
  } else if (dim == 8 * lanes) {
    UpdateFixedWidth<8>(update, runs, sum);
  } else {
    UpdateTouchedRows<AnyWidth, 0>(update, runs, sum);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
