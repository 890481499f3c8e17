#include "tf_embed/lookup/pooled_lookup.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "tf_embed/base/simd_targets.h"
#include "tf_embed/lookup/cut_by_cost.h"
#include "tf_embed/lookup/row_format.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/lookup/pooled_lookup.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/lookup/pooled_lookup-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

void LookupPositions64(const BasicLookupTask<int64_t>& task, int64_t begin,
                       int64_t end) {
  LookupPositions(task, begin, end);
}
void LookupPositions32(const BasicLookupTask<int32_t>& task, int64_t begin,
                       int64_t end) {
  LookupPositions(task, begin, end);
}

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {
namespace {

HWY_EXPORT(LookupPositions64);
HWY_EXPORT(LookupPositions32);

void LookupPositions(const BasicLookupTask<int64_t>& task, int64_t begin,
                     int64_t end) {
  if (begin < end) {
    HWY_DYNAMIC_DISPATCH(LookupPositions64)(task, begin, end);
  }
}
void LookupPositions(const BasicLookupTask<int32_t>& task, int64_t begin,
                     int64_t end) {
  if (begin < end) {
    HWY_DYNAMIC_DISPATCH(LookupPositions32)(task, begin, end);
  }
}

// Cost is counted in bytes read and written. Pieces are to be large against
// the microsecond that handing one to a thread takes; an estimate, not tuned.
constexpr int64_t kMinPieceCost = 256 << 10;
constexpr int64_t kPiecesPerThread = 32;  // so that all finish at about a time

// What positions [0, p) of a task cost.
template <typename Id>
int64_t CostUpTo(const BasicLookupTask<Id>& task, int64_t p) {
  constexpr int64_t kIdCost = 16;
  constexpr int64_t kPositionCost = 32;
  const int64_t row_bytes = RowBytes(task.format, task.dim);
  const int64_t output_bytes = task.dim * sizeof(float);
  const int64_t num_ids = task.ids.begin(p) - task.ids.begin(0);
  return num_ids * (row_bytes + kIdCost) + p * (output_bytes + kPositionCost);
}

// The first position at which CostUpTo reaches `cost`.
template <typename Id>
int64_t PositionAtCost(const BasicLookupTask<Id>& task, int64_t cost) {
  return FirstAtCost(task.ids.num_positions, cost,
                     [&](int64_t p) { return CostUpTo(task, p); });
}

template <typename Id>
void LookupTasks(Span<const BasicLookupTask<Id>> tasks, Executor& executor) {
  int64_t total_cost = 0;
  if (executor.num_threads() > 1) {
    for (const BasicLookupTask<Id>& task : tasks) {
      total_cost += CostUpTo(task, task.ids.num_positions);
    }
  }
  const int64_t num_pieces = std::min(
      total_cost / kMinPieceCost, executor.num_threads() * kPiecesPerThread);
  if (num_pieces <= 1) {
    WorkClock clock;
    for (const BasicLookupTask<Id>& task : tasks) {
      clock.Charge(task.time_ns);
      LookupPositions(task, 0, task.ids.num_positions);
    }
    return;
  }
  // The tasks one behind the other on a line of cost, which is cut evenly.
  std::vector<int64_t> starts;
  starts.reserve(tasks.size() + 1);
  starts.push_back(0);
  for (const BasicLookupTask<Id>& task : tasks) {
    starts.push_back(starts.back() + CostUpTo(task, task.ids.num_positions));
  }
  executor.ParallelFor(num_pieces, [&](int64_t piece) {
    const int64_t begin = total_cost * piece / num_pieces;
    const int64_t end = total_cost * (piece + 1) / num_pieces;
    // The last task that starts at or before `begin`.
    size_t t = std::upper_bound(starts.begin(), starts.end(), begin) -
               starts.begin() - 1;
    WorkClock clock;
    for (; t < tasks.size() && starts[t] < end; ++t) {
      clock.Charge(tasks[t].time_ns);
      LookupPositions(tasks[t], PositionAtCost(tasks[t], begin - starts[t]),
                      PositionAtCost(tasks[t], end - starts[t]));
    }
  });
}

}  // namespace

void PooledLookup(Span<const BasicLookupTask<int64_t>> tasks,
                  Executor& executor) {
  LookupTasks(tasks, executor);
}

void PooledLookup(Span<const BasicLookupTask<int32_t>> tasks,
                  Executor& executor) {
  LookupTasks(tasks, executor);
}

}  // namespace tf_embed
#endif  // HWY_ONCE
