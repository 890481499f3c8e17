#include "tf_embed/lookup/sparse_update.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "tf_embed/base/object_pool.h"
#include "tf_embed/base/simd_targets.h"
#include "tf_embed/lookup/contributions.h"
#include "tf_embed/lookup/cut_by_cost.h"
#include "tf_embed/lookup/sparse_update_internal.h"
#include "tf_embed/lookup/update_plan.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tf_embed/lookup/sparse_update.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "tf_embed/lookup/sparse_update-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tf_embed {
namespace HWY_NAMESPACE {

void UpdatePlain(const TableUpdate& update,
                 const RowRuns<PlainContribution>& runs, const RowRange& range,
                 float* sums, const float* zeros) {
  UpdateRows(update, runs, range, sums, zeros);
}
void UpdateWeighted(const TableUpdate& update,
                    const RowRuns<WeightedContribution>& runs,
                    const RowRange& range, float* sums, const float* zeros) {
  UpdateRows(update, runs, range, sums, zeros);
}
void UpdateWide(const TableUpdate& update,
                const RowRuns<WideContribution>& runs, const RowRange& range,
                float* sums, const float* zeros) {
  UpdateRows(update, runs, range, sums, zeros);
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
                float* sums, const float* zeros) {
  HWY_DYNAMIC_DISPATCH(UpdatePlain)(update, runs, range, sums, zeros);
}
void UpdateRows(const TableUpdate& update,
                const RowRuns<WeightedContribution>& runs,
                const RowRange& range, float* sums, const float* zeros) {
  HWY_DYNAMIC_DISPATCH(UpdateWeighted)(update, runs, range, sums, zeros);
}
void UpdateRows(const TableUpdate& update,
                const RowRuns<WideContribution>& runs, const RowRange& range,
                float* sums, const float* zeros) {
  HWY_DYNAMIC_DISPATCH(UpdateWide)(update, runs, range, sums, zeros);
}

// Part of the bags of a table whose contributions are dealt to buckets.
struct Chunk {
  int64_t plan;
  int64_t bag_begin;
  int64_t bag_end;
};

// What tables that are cut up share between threads.
struct DealtTable {
  ScratchArray contributions;
  ScratchArray bags;
};

// What sorting one piece takes, and where the result lies.
struct SortSpace {
  ScratchArray contributions;
  ScratchArray spare;
  ScratchArray run_begins;
  ScratchArray bags;
};

// RowRuns of one of the forms.
struct AnyRuns {
  const void* contributions = nullptr;
  int64_t num_contributions = 0;
  const void* begins = nullptr;
  int64_t num_runs = 0;
  const Bag* bags = nullptr;

  // Runs [begin, end).
  template <class Contribution>
  RowRuns<Contribution> Of(int64_t begin, int64_t end) const {
    using Index = typename Contribution::Index;
    return {static_cast<const Contribution*>(contributions), num_contributions,
            static_cast<const Index*>(begins) + begin, end - begin, bags};
  }
};

// One bucket of one table. `begin` and `end` are places in the contributions
// that were dealt, if the table has several buckets.
struct Piece {
  int64_t plan;
  int64_t bucket;
  int64_t begin;
  int64_t end;
  ObjectPool<SortSpace>::Lease space;
  AnyRuns runs;  // in `space`, while the piece has it
};

// Runs [begin, end) of a piece, whose rows one thread updates.
struct Part {
  int64_t piece;
  int64_t begin;
  int64_t end;
};

struct RowBuffers {
  ScratchArray sums;
  ScratchArray zeros;
};

}  // namespace

struct SparseUpdateScratch::Impl {
  // Deals the contributions of tables that are cut up to their buckets and
  // appends the buckets to `pieces`.
  void DealTables(Executor& executor);
  void CutChunks(int64_t plan_index);
  void CountChunk(const Chunk& chunk, int64_t* counts);
  void DealChunk(const Chunk& chunk, int64_t* next);

  // Sorts a piece, and updates its rows if it costs at most `max_whole_cost`.
  void RunPiece(int64_t piece_index);
  template <class Contribution>
  void SortContributions(Piece& piece);
  // Cuts what is left of the pieces so that no part is much more than its
  // share.
  void CutPieces(int num_threads);
  void Update(const Part& part);

  const TablePlan& plan_of(const Piece& piece) { return plans[piece.plan]; }

  std::vector<TablePlan> plans;
  int64_t max_whole_cost = 0;
  std::vector<Piece> pieces;
  std::vector<Part> parts;
  ObjectPool<SortSpace> sort_spaces;
  ObjectPool<RowBuffers> row_buffers;

  // For tables that are cut up.
  std::vector<std::unique_ptr<DealtTable>> dealt;  // of each plan
  std::vector<Chunk> chunks;
  // Of each chunk and bucket: how many contributions, then where they go.
  std::vector<int64_t> places;
  std::vector<int64_t> first_place;  // of each chunk
};

SparseUpdateScratch::SparseUpdateScratch() : impl_(new Impl) {}
SparseUpdateScratch::~SparseUpdateScratch() = default;

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

void SparseUpdateScratch::Impl::CountChunk(const Chunk& chunk,
                                           int64_t* counts) {
  const TablePlan& plan = plans[chunk.plan];
  const WorkClock clock(plan.update->time_ns);
  std::fill_n(counts, plan.num_buckets(), 0);
  ForEachContribution(
      *plan.update, chunk.bag_begin, chunk.bag_end,
      [&](uint64_t id, uint64_t, float) { ++counts[plan.BucketOf(id)]; });
}

void SparseUpdateScratch::Impl::DealChunk(const Chunk& chunk, int64_t* next) {
  const TablePlan& plan = plans[chunk.plan];
  const WorkClock clock(plan.update->time_ns);
  DealtTable& table = *dealt[chunk.plan];
  ListBags(*plan.update, chunk.bag_begin, chunk.bag_end,
           table.bags.Get<Bag>(plan.num_bags));
  WithContribution(plan.form, [&](auto form) {
    using Contribution = decltype(form);
    Contribution* const contributions =
        table.contributions.Get<Contribution>(plan.num_contributions);
    ForEachContribution(*plan.update, chunk.bag_begin, chunk.bag_end,
                        [&](uint64_t id, uint64_t bag, float coefficient) {
                          const int64_t place = next[plan.BucketOf(id)]++;
                          contributions[place] =
                              Contribution::Make(id, bag, coefficient, place);
                        });
  });
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
    WithContribution(plan.form, [&](auto form) {
      dealt[i]->contributions.Get<decltype(form)>(plan.num_contributions);
    });
  }
  if (chunks.empty()) return;
  executor.ParallelFor(chunks.size(), [this](int64_t c) {
    CountChunk(chunks[c], &places[first_place[c]]);
  });
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
      pieces.push_back({plan_index, b, begin, place, {}, {}});
    }
    first = end;
  }
  executor.ParallelFor(chunks.size(), [this](int64_t c) {
    DealChunk(chunks[c], &places[first_place[c]]);
  });
}

template <class Contribution>
void SparseUpdateScratch::Impl::SortContributions(Piece& piece) {
  const TablePlan& plan = plan_of(piece);
  const TableUpdate& update = *plan.update;
  SortSpace& space = *piece.space;
  AnyRuns& runs = piece.runs;
  Contribution* contributions;
  int64_t n;
  if (plan.bucket_bits == 0) {
    n = plan.num_contributions;
    Bag* const bags = space.bags.Get<Bag>(plan.num_bags);
    ListBags(update, 0, plan.num_bags, bags);
    runs.bags = bags;
    contributions = space.contributions.Get<Contribution>(n);
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
    runs.bags = table.bags.Get<Bag>(plan.num_bags);
    contributions =
        table.contributions.Get<Contribution>(plan.num_contributions) +
        piece.begin;
  }
  Contribution* const spare = space.spare.Get<Contribution>(n);
  contributions =
      SortById(contributions, spare, n, plan.low_bit(), plan.high_bit());
  using Index = typename Contribution::Index;
  Index* const begins = space.run_begins.Get<Index>(n + 1);
  runs.contributions = contributions;
  runs.num_contributions = n;
  runs.begins = begins;
  runs.num_runs = FindRuns(contributions, n, begins);
}

void SparseUpdateScratch::Impl::RunPiece(int64_t piece_index) {
  Piece& piece = pieces[piece_index];
  const TablePlan& plan = plan_of(piece);
  {
    const WorkClock clock(plan.update->time_ns);
    piece.space = sort_spaces.Take();
    WithContribution(plan.form, [&](auto form) {
      SortContributions<decltype(form)>(piece);
    });
  }
  if (plan.bucket_cost() <= max_whole_cost) {
    Update({piece_index, 0, piece.runs.num_runs});
    piece.space.reset();
  }
}

void SparseUpdateScratch::Impl::CutPieces(int num_threads) {
  constexpr int64_t kPartsPerThread = 16;
  constexpr int64_t kMinPartCost = 1 << 18;  // an estimate, not tuned
  // What the first `run` runs of a piece cost.
  const auto cost_up_to = [this](const Piece& piece, int64_t run) {
    const TablePlan& plan = plan_of(piece);
    int64_t cost = run * plan.row_cost();
    WithContribution(plan.form, [&](auto form) {
      cost +=
          piece.runs.Of<decltype(form)>(0, piece.runs.num_runs).begins[run] *
          plan.contribution_cost();
    });
    return cost;
  };
  int64_t total = 0;
  for (const Piece& piece : pieces) {
    if (piece.space != nullptr) total += cost_up_to(piece, piece.runs.num_runs);
  }
  const int64_t share =
      std::max(total / (num_threads * kPartsPerThread), kMinPartCost);
  parts.clear();
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    if (piece.space == nullptr) continue;  // done
    const int64_t num_runs = piece.runs.num_runs;
    const int64_t cost = cost_up_to(piece, num_runs);
    // Where all rows are visited, a piece is a range of them.
    const int64_t num_parts = plan_of(piece).all_rows() ? 1 : cost / share + 1;
    int64_t begin = 0;
    for (int64_t k = 1; k <= num_parts; ++k) {
      const int64_t end =
          k == num_parts
              ? num_runs
              : FirstAtCost(num_runs, cost * k / num_parts, [&](int64_t run) {
                  return cost_up_to(piece, run);
                });
      parts.push_back({static_cast<int64_t>(i), begin, end});
      begin = end;
    }
  }
}

void SparseUpdateScratch::Impl::Update(const Part& part) {
  const Piece& piece = pieces[part.piece];
  const TablePlan& plan = plan_of(piece);
  const TableUpdate& update = *plan.update;
  const WorkClock clock(update.time_ns);
  const ObjectPool<RowBuffers>::Lease buffers = row_buffers.Take();
  const int64_t dim = update.table.dim;
  float* const sums = buffers->sums.Get<float>(BlockRows(dim) * dim);
  float* const zeros = buffers->zeros.Get<float>(dim);
  if (plan.all_rows()) std::fill_n(zeros, dim, 0.0f);
  WithContribution(plan.form, [&](auto form) {
    UpdateRows(update, piece.runs.Of<decltype(form)>(part.begin, part.end),
               plan.RowsOf(piece.bucket), sums, zeros);
  });
}

void SparseUpdate(Span<TableUpdate> updates, SparseUpdateScratch& scratch,
                  Executor& executor) {
  SparseUpdateScratch::Impl& impl = *scratch.impl();
  impl.plans.clear();
  impl.pieces.clear();
  for (const TableUpdate& update : updates) {
    impl.plans.push_back(MakePlan(update));
  }
  impl.max_whole_cost = CutTables(impl.plans, executor.num_threads());
  impl.DealTables(executor);
  for (size_t i = 0; i < impl.plans.size(); ++i) {
    if (impl.plans[i].bucket_bits == 0) {
      impl.pieces.push_back({static_cast<int64_t>(i), 0, 0, 0, {}, {}});
    }
  }
  executor.ParallelFor(impl.pieces.size(),
                       [&impl](int64_t i) { impl.RunPiece(i); });
  impl.CutPieces(executor.num_threads());
  executor.ParallelFor(impl.parts.size(),
                       [&impl](int64_t i) { impl.Update(impl.parts[i]); });
  for (TableUpdate& update : updates) update.rows_touched = 0;
  for (const Piece& piece : impl.pieces) {
    updates[piece.plan].rows_touched += piece.runs.num_runs;
  }
}

}  // namespace tf_embed
#endif  // HWY_ONCE
