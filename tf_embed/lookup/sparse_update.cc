#include "tf_embed/lookup/sparse_update.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <memory>
#include <mutex>
#include <vector>

#include "tf_embed/base/simd_targets.h"
#include "tf_embed/lookup/contributions.h"
#include "tf_embed/lookup/sparse_update_internal.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/lookup/sparse_update.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/lookup/sparse_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

void UpdatePlain(const TableUpdate& update,
                 const RowRuns<PlainContribution>& runs, const RowRange& range,
                 float* sum, const float* zeros) {
  UpdateRows(update, runs, range, sum, zeros);
}
void UpdateWeighted(const TableUpdate& update,
                    const RowRuns<WeightedContribution>& runs,
                    const RowRange& range, float* sum, const float* zeros) {
  UpdateRows(update, runs, range, sum, zeros);
}
void UpdateWide(const TableUpdate& update,
                const RowRuns<WideContribution>& runs, const RowRange& range,
                float* sum, const float* zeros) {
  UpdateRows(update, runs, range, sum, zeros);
}

}  // namespace HWY_NAMESPACE
}  // namespace tf_embed
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tf_embed {
namespace {

HWY_EXPORT(UpdatePlain);
HWY_EXPORT(UpdateWeighted);
HWY_EXPORT(UpdateWide);

void UpdateRows(const TableUpdate& update,
                const RowRuns<PlainContribution>& runs, const RowRange& range,
                float* sum, const float* zeros) {
  HWY_DYNAMIC_DISPATCH(UpdatePlain)(update, runs, range, sum, zeros);
}
void UpdateRows(const TableUpdate& update,
                const RowRuns<WeightedContribution>& runs,
                const RowRange& range, float* sum, const float* zeros) {
  HWY_DYNAMIC_DISPATCH(UpdateWeighted)(update, runs, range, sum, zeros);
}
void UpdateRows(const TableUpdate& update,
                const RowRuns<WideContribution>& runs, const RowRange& range,
                float* sum, const float* zeros) {
  HWY_DYNAMIC_DISPATCH(UpdateWide)(update, runs, range, sum, zeros);
}

enum class Form { kPlain, kWeighted, kWide };

// How the work of one table is cut up.
struct TablePlan {
  const TableUpdate* update;
  int64_t num_contributions;
  int64_t num_bags;
  Form form;
  int id_bits;
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
};

// Part of the bags of a table whose contributions are dealt to buckets.
struct Chunk {
  int64_t plan;
  int64_t bag_begin;
  int64_t bag_end;
};

// One bucket of one table. `begin` and `end` are places in the contributions
// that were dealt, if the table has several buckets.
struct Piece {
  int64_t plan;
  int64_t bucket;
  int64_t begin;
  int64_t end;
  int64_t rows_touched;
};

// What a thread needs for one piece.
struct Workspace {
  ScratchArray contributions;
  ScratchArray spare;
  ScratchArray run_begins;
  ScratchArray bags;
  ScratchArray sum;
  ScratchArray zeros;
};

// Workspaces for as many threads as come.
class WorkspacePool {
 public:
  Workspace* Take() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (free_.empty()) {
      all_.push_back(std::make_unique<Workspace>());
      free_.reserve(all_.size());
      return all_.back().get();
    }
    Workspace* const workspace = free_.back();
    free_.pop_back();
    return workspace;
  }
  void Return(Workspace* workspace) {
    std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(workspace);
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Workspace>> all_;
  std::vector<Workspace*> free_;
};

// What tables that are cut up share between threads.
struct DealtTable {
  ScratchArray contributions;
  ScratchArray bags;
};

int BitWidth(uint64_t x) { return x == 0 ? 0 : 64 - __builtin_clzll(x); }

int64_t NumContributions(const PooledIds& ids) {
  return ids.end(ids.num_positions - 1) - ids.begin(0);
}

// emit(id, bag, coefficient) for the contributions of bags [bag_begin,
// bag_end), in the order in which they are added up.
template <class Emit>
void ForEachContribution(const TableUpdate& update, int64_t bag_begin,
                         int64_t bag_end, Emit emit) {
  int64_t first_bag = 0;
  for (const GradientSource& source : update.sources) {
    const PooledIds& ids = source.ids;
    const int64_t begin = std::max<int64_t>(bag_begin - first_bag, 0);
    const int64_t end = std::min(bag_end - first_bag, ids.num_positions);
    for (int64_t p = begin; p < end; ++p) {
      const float scale = ids.scales.empty() ? 1.0f : ids.scales[p];
      const int64_t id_end = ids.end(p);
      for (int64_t j = ids.begin(p); j < id_end; ++j) {
        const float weight = ids.weights.empty() ? 1.0f : ids.weights[j];
        emit(static_cast<uint64_t>(ids.ids[j]), first_bag + p, weight * scale);
      }
    }
    first_bag += ids.num_positions;
  }
}

// Fills in bags [bag_begin, bag_end).
void ListBags(const TableUpdate& update, int64_t bag_begin, int64_t bag_end,
              Bag* bags) {
  int64_t first_bag = 0;
  for (const GradientSource& source : update.sources) {
    const PooledIds& ids = source.ids;
    const int64_t begin = std::max<int64_t>(bag_begin - first_bag, 0);
    const int64_t end = std::min(bag_end - first_bag, ids.num_positions);
    for (int64_t p = begin; p < end; ++p) {
      bags[first_bag + p] = {source.gradients + p * update.table.dim,
                             ids.scales.empty() ? 1.0f : ids.scales[p]};
    }
    first_bag += ids.num_positions;
  }
}

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
  plan.form = wide ? Form::kWide : weighted ? Form::kWeighted : Form::kPlain;
  return plan;
}

// Work in bytes read and written, roughly.
int64_t Cost(const TablePlan& plan) {
  constexpr int64_t kContributionCost = 64;  // to pack and sort it
  const TableView& table = plan.update->table;
  const int64_t gradient_bytes = table.dim * sizeof(float);
  const int64_t row_bytes = 2 * (1 + table.slots.size()) * gradient_bytes;
  const int64_t rows = plan.all_rows()
                           ? table.rows
                           : std::min(table.rows, plan.num_contributions);
  return plan.num_contributions * (gradient_bytes + kContributionCost) +
         rows * row_bytes;
}

// Cuts tables so that no piece is much more than its share of the work.
void CutTables(std::vector<TablePlan>& plans, int num_threads) {
  constexpr int64_t kPiecesPerThread = 4;
  constexpr int64_t kMinPieceCost = 1 << 20;  // an estimate, not tuned
  constexpr int kMaxBucketBits = 8;
  if (num_threads == 1) return;
  int64_t total = 0;
  for (const TablePlan& plan : plans) total += Cost(plan);
  const int64_t share =
      std::max(total / (num_threads * kPiecesPerThread), kMinPieceCost);
  for (TablePlan& plan : plans) {
    plan.bucket_bits = std::min({BitWidth(Cost(plan) / (share + share / 2)),
                                 plan.id_bits, kMaxBucketBits});
  }
}

}  // namespace

struct SparseUpdateScratch::Impl {
  // The pieces of one table that is not cut up, or one bucket of one that is.
  void RunPiece(Piece& piece);
  template <class Contribution>
  void RunPieceOf(Piece& piece, Workspace& workspace);

  // Deals the contributions of tables that are cut up to their buckets and
  // appends the buckets to `pieces`.
  void DealTables(Executor& executor);
  void CutChunks(int64_t plan_index);
  void CountChunk(int64_t chunk_index);
  void DealChunk(int64_t chunk_index);
  template <class Contribution>
  void DealChunkOf(int64_t chunk_index);

  std::vector<TablePlan> plans;
  std::vector<Piece> pieces;
  WorkspacePool workspaces;

  // For tables that are cut up.
  std::vector<std::unique_ptr<DealtTable>> dealt;  // of each plan
  std::vector<Chunk> chunks;
  // Of each chunk and bucket: how many contributions, then where they go.
  std::vector<int64_t> places;
  std::vector<int64_t> first_place;  // of each chunk
};

SparseUpdateScratch::SparseUpdateScratch() : impl_(new Impl) {}
SparseUpdateScratch::~SparseUpdateScratch() = default;

template <class Contribution>
void SparseUpdateScratch::Impl::RunPieceOf(Piece& piece, Workspace& workspace) {
  const TablePlan& plan = plans[piece.plan];
  const TableUpdate& update = *plan.update;
  const Bag* bags;
  Contribution* contributions;
  int64_t n;
  if (plan.bucket_bits == 0) {
    n = plan.num_contributions;
    Bag* const own_bags = workspace.bags.Get<Bag>(plan.num_bags);
    ListBags(update, 0, plan.num_bags, own_bags);
    bags = own_bags;
    contributions = workspace.contributions.Get<Contribution>(n);
    Contribution* next = contributions;
    ForEachContribution(update, 0, plan.num_bags,
                        [&](uint64_t id, uint64_t bag, float coefficient) {
                          *next = Contribution::Make(id, bag, coefficient,
                                                     next - contributions);
                          ++next;
                        });
  } else {
    n = piece.end - piece.begin;
    DealtTable& table = *dealt[piece.plan];
    bags = table.bags.Get<Bag>(plan.num_bags);
    contributions =
        table.contributions.Get<Contribution>(plan.num_contributions) +
        piece.begin;
  }
  Contribution* const spare = workspace.spare.Get<Contribution>(n);
  contributions =
      SortById(contributions, spare, n, plan.low_bit(), plan.high_bit());
  RowRuns<Contribution> runs;
  using Index = typename Contribution::Index;
  Index* const begins = workspace.run_begins.Get<Index>(n + 1);
  runs.contributions = contributions;
  runs.num_contributions = n;
  runs.begins = begins;
  runs.num_runs = FindRuns(contributions, n, begins);
  runs.bags = bags;
  piece.rows_touched = runs.num_runs;
  float* const sum = workspace.sum.Get<float>(update.table.dim);
  float* const zeros = workspace.zeros.Get<float>(update.table.dim);
  if (plan.all_rows()) std::fill_n(zeros, update.table.dim, 0.0f);
  UpdateRows(update, runs, plan.RowsOf(piece.bucket), sum, zeros);
}

void SparseUpdateScratch::Impl::RunPiece(Piece& piece) {
  const WorkClock clock(plans[piece.plan].update->time_ns);
  Workspace* const workspace = workspaces.Take();
  switch (plans[piece.plan].form) {
    case Form::kPlain:
      RunPieceOf<PlainContribution>(piece, *workspace);
      break;
    case Form::kWeighted:
      RunPieceOf<WeightedContribution>(piece, *workspace);
      break;
    case Form::kWide:
      RunPieceOf<WideContribution>(piece, *workspace);
      break;
  }
  workspaces.Return(workspace);
}

void SparseUpdateScratch::Impl::CutChunks(int64_t plan_index) {
  const TablePlan& plan = plans[plan_index];
  const int64_t num_chunks =
      std::min(plan.num_buckets(), std::max<int64_t>(plan.num_bags, 1));
  for (int64_t c = 0; c < num_chunks; ++c) {
    chunks.push_back({plan_index, plan.num_bags * c / num_chunks,
                      plan.num_bags * (c + 1) / num_chunks});
    first_place.push_back(places.size());
    places.resize(places.size() + plan.num_buckets());
  }
}

void SparseUpdateScratch::Impl::CountChunk(int64_t chunk_index) {
  const Chunk& chunk = chunks[chunk_index];
  const TablePlan& plan = plans[chunk.plan];
  const WorkClock clock(plan.update->time_ns);
  int64_t* const counts = &places[first_place[chunk_index]];
  std::fill_n(counts, plan.num_buckets(), 0);
  ForEachContribution(
      *plan.update, chunk.bag_begin, chunk.bag_end,
      [&](uint64_t id, uint64_t, float) { ++counts[plan.BucketOf(id)]; });
}

template <class Contribution>
void SparseUpdateScratch::Impl::DealChunkOf(int64_t chunk_index) {
  const Chunk& chunk = chunks[chunk_index];
  const TablePlan& plan = plans[chunk.plan];
  DealtTable& table = *dealt[chunk.plan];
  ListBags(*plan.update, chunk.bag_begin, chunk.bag_end,
           table.bags.Get<Bag>(plan.num_bags));
  Contribution* const contributions =
      table.contributions.Get<Contribution>(plan.num_contributions);
  int64_t* const next = &places[first_place[chunk_index]];
  ForEachContribution(*plan.update, chunk.bag_begin, chunk.bag_end,
                      [&](uint64_t id, uint64_t bag, float coefficient) {
                        const int64_t place = next[plan.BucketOf(id)]++;
                        contributions[place] =
                            Contribution::Make(id, bag, coefficient, place);
                      });
}

void SparseUpdateScratch::Impl::DealChunk(int64_t chunk_index) {
  const WorkClock clock(plans[chunks[chunk_index].plan].update->time_ns);
  switch (plans[chunks[chunk_index].plan].form) {
    case Form::kPlain:
      DealChunkOf<PlainContribution>(chunk_index);
      break;
    case Form::kWeighted:
      DealChunkOf<WeightedContribution>(chunk_index);
      break;
    case Form::kWide:
      DealChunkOf<WideContribution>(chunk_index);
      break;
  }
}

void SparseUpdateScratch::Impl::DealTables(Executor& executor) {
  chunks.clear();
  places.clear();
  first_place.clear();
  while (dealt.size() < plans.size()) {
    dealt.push_back(std::make_unique<DealtTable>());
  }
  for (size_t i = 0; i < plans.size(); ++i) {
    const TablePlan& plan = plans[i];
    if (plan.bucket_bits == 0) continue;
    CutChunks(i);
    // Grown here, where one thread works, to the size that all then ask for.
    dealt[i]->bags.Get<Bag>(plan.num_bags);
    switch (plan.form) {
      case Form::kPlain:
        dealt[i]->contributions.Get<PlainContribution>(plan.num_contributions);
        break;
      case Form::kWeighted:
        dealt[i]->contributions.Get<WeightedContribution>(
            plan.num_contributions);
        break;
      case Form::kWide:
        dealt[i]->contributions.Get<WideContribution>(plan.num_contributions);
        break;
    }
  }
  if (chunks.empty()) return;
  executor.ParallelFor(chunks.size(), [this](int64_t c) { CountChunk(c); });
  for (size_t first = 0; first < chunks.size();) {
    const int64_t plan_index = chunks[first].plan;
    size_t end = first;
    while (end < chunks.size() && chunks[end].plan == plan_index) ++end;
    // Bucket by bucket and in it chunk by chunk: the order of the sum stays.
    int64_t place = 0;
    for (int64_t b = 0; b < plans[plan_index].num_buckets(); ++b) {
      const int64_t begin = place;
      for (size_t c = first; c < end; ++c) {
        place += std::exchange(places[first_place[c] + b], place);
      }
      pieces.push_back({plan_index, b, begin, place, 0});
    }
    first = end;
  }
  executor.ParallelFor(chunks.size(), [this](int64_t c) { DealChunk(c); });
}

void SparseUpdate(Span<TableUpdate> updates, SparseUpdateScratch& scratch,
                  Executor& executor) {
  SparseUpdateScratch::Impl& impl = *scratch.impl();
  impl.plans.clear();
  impl.pieces.clear();
  for (const TableUpdate& update : updates) {
    impl.plans.push_back(MakePlan(update));
  }
  CutTables(impl.plans, executor.num_threads());
  impl.DealTables(executor);
  for (size_t i = 0; i < impl.plans.size(); ++i) {
    if (impl.plans[i].bucket_bits == 0) {
      impl.pieces.push_back({static_cast<int64_t>(i), 0, 0, 0, 0});
    }
  }
  if (executor.num_threads() == 1) {
    for (Piece& piece : impl.pieces) impl.RunPiece(piece);
  } else {
    executor.ParallelFor(impl.pieces.size(),
                         [&impl](int64_t i) { impl.RunPiece(impl.pieces[i]); });
  }
  for (TableUpdate& update : updates) update.rows_touched = 0;
  for (const Piece& piece : impl.pieces) {
    updates[piece.plan].rows_touched += piece.rows_touched;
  }
}

}  // namespace tf_embed
#endif  // HWY_ONCE
