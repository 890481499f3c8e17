#include "tf_embed/lookup/sparse_update.h"

#include <sys/mman.h>

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tf_embed/base/simd_targets.h"
#include "tf_embed/base/thread_pool.h"
#include "tf_embed/lookup/sparse_update_ref.h"

namespace tf_embed {
namespace {

constexpr float kEpsilon = std::numeric_limits<float>::epsilon();

std::unique_ptr<const Optimizer> Make(OptimizerParams params) {
  OptimizerConfig config;
  config.params = std::move(params);
  return std::move(Optimizer::Create(config)).value();
}

// One feature's ids and gradients, with all that its views point to.
struct Source {
  std::vector<int64_t> offsets;
  std::vector<int64_t> ids;
  std::vector<float> weights;
  std::vector<float> scales;
  std::vector<float> gradients;

  GradientSource View() const {
    GradientSource view;
    view.ids.num_positions = offsets.empty() ? ids.size() : offsets.size() - 1;
    view.ids.offsets = offsets;
    view.ids.ids = ids;
    view.ids.weights = weights;
    view.ids.scales = scales;
    view.gradients = gradients.data() + 1;  // off the alignment
    return view;
  }
};

struct Options {
  int64_t rows = 40;
  int64_t dim = 1;
  int64_t positions = 30;
  int64_t max_bag = 4;  // 1: one id a position
  int sources = 1;
  bool weighted = false;
  bool scaled = false;
  // Gradients are small integers, weights and scales powers of two: sums are
  // exact in any order.
  bool exact = true;
};

std::vector<Source> MakeSources(const Options& o, uint32_t seed) {
  std::mt19937 rng(seed);
  std::uniform_real_distribution<float> real(-1, 1);
  const auto factor = [&] {
    return o.exact ? std::ldexp(1.0f, static_cast<int>(rng() % 4) - 2)
                   : real(rng);
  };
  std::vector<Source> sources(o.sources);
  for (Source& source : sources) {
    if (o.max_bag > 1) source.offsets.push_back(0);
    for (int64_t p = 0; p < o.positions; ++p) {
      const int64_t size = o.max_bag == 1 ? 1 : rng() % (o.max_bag + 1);
      for (int64_t j = 0; j < size; ++j) {
        // Half of the ids are popular, so that rows repeat.
        source.ids.push_back(rng() % 2 ? rng() % o.rows
                                       : rng() % std::min<int64_t>(o.rows, 5));
        if (o.weighted) source.weights.push_back(factor());
      }
      if (o.max_bag > 1) source.offsets.push_back(source.ids.size());
      if (o.scaled) source.scales.push_back(factor());
    }
    source.gradients.resize(1 + o.positions * o.dim);
    for (float& g : source.gradients) {
      g = o.exact ? static_cast<float>(static_cast<int>(rng() % 17) - 8)
                  : real(rng);
    }
  }
  return sources;
}

// A table with slots, filled with numbers that differ from row to row.
struct Table {
  Table(int64_t rows, int64_t dim, const Optimizer& optimizer)
      : rows(rows), dim(dim) {
    for (size_t i = 0; i <= optimizer.slots().size(); ++i) {
      std::vector<float>& array = arrays.emplace_back(rows * dim + 1);
      for (size_t k = 0; k < array.size(); ++k) {
        array[k] = 0.25f + static_cast<float>((k * 7 + i) % 101) / 128.0f;
      }
    }
    for (size_t i = 1; i < arrays.size(); ++i) {
      slots.push_back(arrays[i].data() + 1);
    }
  }

  TableView View() {
    TableView view;
    view.rows = rows;
    view.dim = dim;
    view.weights = arrays[0].data() + 1;
    view.slots = Span<float* const>(slots.data(), slots.size());
    return view;
  }

  int64_t rows, dim;
  std::vector<std::vector<float>> arrays;
  std::vector<float*> slots;
};

std::vector<GradientSource> Views(const std::vector<Source>& sources) {
  std::vector<GradientSource> views;
  for (const Source& source : sources) views.push_back(source.View());
  return views;
}

// The update by the contract, for exact sums. Returns the rows touched.
int64_t UpdateByRows(const TableUpdate& update) {
  const int64_t dim = update.table.dim;
  std::map<int64_t, RowGradientRef> gradients = AccumulateRef(update);
  const int64_t rows_touched = gradients.size();
  if (update.optimizer->UpdatesUntouchedRows()) {
    for (int64_t id = 0; id < update.table.rows; ++id) {
      gradients[id].value.resize(dim);
    }
  }
  for (const auto& [id, gradient] : gradients) {
    const std::vector<float> g(gradient.value.begin(), gradient.value.end());
    std::vector<float*> slots;
    for (float* slot : update.table.slots) slots.push_back(slot + id * dim);
    update.optimizer->UpdateRow(update.scalars, g.data(),
                                update.table.weights + id * dim, slots.data(),
                                dim);
  }
  return rows_touched;
}

// Runs the body once for each SIMD target of the machine.
class SparseUpdateTest : public testing::TestWithParam<SimdTarget> {
 protected:
  void SetUp() override { ForceSimdTarget(GetParam()); }
  void TearDown() override { UseBestSimdTarget(); }

  // Updates a table as `o` says and expects the bits that the contract gives,
  // from each executor.
  void ExpectExact(const Options& o, const OptimizerParams& params,
                   uint32_t seed, std::initializer_list<Executor*> executors) {
    SCOPED_TRACE(testing::Message()
                 << "dim " << o.dim << " bag " << o.max_bag << " sources "
                 << o.sources << " weighted " << o.weighted << " scaled "
                 << o.scaled << " seed " << seed);
    const auto optimizer = Make(params);
    const std::vector<Source> sources = MakeSources(o, seed);
    const std::vector<GradientSource> views = Views(sources);
    Table expected(o.rows, o.dim, *optimizer);
    TableUpdate update;
    update.optimizer = optimizer.get();
    update.scalars = {0.125f, 3};
    update.sources = views;
    update.table = expected.View();
    const int64_t rows_touched = UpdateByRows(update);
    for (Executor* executor : executors) {
      Table table(o.rows, o.dim, *optimizer);
      update.table = table.View();
      SparseUpdate(Span<TableUpdate>(&update, 1), scratch_, *executor);
      EXPECT_TRUE(table.arrays == expected.arrays)
          << executor->num_threads() << " threads";
      EXPECT_EQ(update.rows_touched, rows_touched);
    }
  }

  SparseUpdateScratch scratch_;
  SerialExecutor serial_;
};

INSTANTIATE_TEST_SUITE_P(Targets, SparseUpdateTest,
                         testing::ValuesIn(SupportedSimdTargets()),
                         [](const testing::TestParamInfo<SimdTarget>& info) {
                           return std::string(SimdTargetName(info.param));
                         });

TEST_P(SparseUpdateTest, RowsAreSummedThenUpdatedOnceInAllShapes) {
  uint32_t seed = 500;
  for (int64_t dim : {1, 3, 7, 8, 15, 16, 17, 31, 64, 85, 128, 163}) {
    for (int64_t max_bag : {1, 4, 40}) {
      for (int sources : {1, 3}) {
        for (bool weighted : {false, true}) {
          for (bool scaled : {false, true}) {
            Options o;
            o.dim = dim;
            o.max_bag = max_bag;
            o.sources = sources;
            o.weighted = weighted;
            o.scaled = scaled;
            ExpectExact(o, AdagradParams{}, ++seed, {&serial_});
            if (HasFailure()) return;
          }
        }
      }
    }
  }
}

TEST_P(SparseUpdateTest, EveryOptimizer) {
  Options o;
  o.dim = 19;
  o.sources = 2;
  for (const OptimizerParams& params : std::vector<OptimizerParams>{
           SgdParams{}, FtrlParams{0.1f, 0.1f, -0.5f, 0, false},
           AdamParams{0.9f, 0.99f, 1e-3f, false, true},
           AdamParams{0.9f, 0.99f, 1e-3f, true, true},
           LionParams{0.9f, 0.99f, true},
           CenteredRmsPropParams{0.9f, 0.5f, 2.0f}, AssignParams{}}) {
    ExpectExact(o, params, 77, {&serial_});
  }
}

TEST_P(SparseUpdateTest, LargeTablesAreCutUpWithoutChangingABit) {
  ThreadPool two(2);
  ThreadPool eight(8);
  for (bool weighted : {false, true}) {
    for (const OptimizerParams& params : std::vector<OptimizerParams>{
             SgdParams{}, AdamParams{0.9f, 0.99f, 1e-3f, true, true}}) {
      Options o;
      o.rows = 5001;
      o.dim = 40;
      o.positions = 2500;
      o.max_bag = 6;
      o.sources = 2;
      o.weighted = weighted;
      o.scaled = true;
      ExpectExact(o, params, 900, {&serial_, &two, &eight});
    }
  }
}

TEST_P(SparseUpdateTest, InexactSumsGiveTheSameBitsForAnyNumberOfThreads) {
  Options o;
  o.rows = 3000;
  o.dim = 33;
  o.positions = 4000;
  o.sources = 3;
  o.weighted = true;
  o.scaled = true;
  o.exact = false;
  const auto optimizer = Make(AdagradParams{});
  const std::vector<Source> sources = MakeSources(o, 5);
  const std::vector<GradientSource> views = Views(sources);
  std::vector<std::vector<float>> first;
  for (int threads : {1, 2, 8}) {
    ThreadPool pool(threads);
    Table table(o.rows, o.dim, *optimizer);
    for (int step = 0; step < 2; ++step) {
      TableUpdate update;
      update.optimizer = optimizer.get();
      update.scalars.learning_rate = 0.1f;
      update.sources = views;
      update.table = table.View();
      SparseUpdate(Span<TableUpdate>(&update, 1), scratch_, pool);
    }
    if (first.empty()) first = table.arrays;
    EXPECT_TRUE(table.arrays == first) << threads << " threads";
  }
}

TEST_P(SparseUpdateTest, SumsAreAsAccurateAsTheirTermsAllow) {
  Options o;
  o.dim = 21;
  o.positions = 300;
  o.sources = 2;
  o.weighted = true;
  o.scaled = true;
  o.exact = false;
  const auto assign = Make(AssignParams{});
  const std::vector<Source> sources = MakeSources(o, 6);
  const std::vector<GradientSource> views = Views(sources);
  Table table(o.rows, o.dim, *assign);
  TableUpdate update;
  update.optimizer = assign.get();
  update.sources = views;
  update.table = table.View();
  SparseUpdate(Span<TableUpdate>(&update, 1), scratch_, serial_);
  for (const auto& [id, gradient] : AccumulateRef(update)) {
    for (int64_t k = 0; k < o.dim; ++k) {
      EXPECT_NEAR(
          update.table.weights[id * o.dim + k], gradient.value[k],
          kEpsilon * (gradient.num_terms + 2) * gradient.sum_of_magnitudes[k]);
    }
  }
}

TEST_P(SparseUpdateTest, ContributionsAreAddedInTheOrderOfTheirSources) {
  // In float, 1e8 + 1 - 1e8 is 0 and 1e8 - 1e8 + 1 is 1.
  const auto assign = Make(AssignParams{});
  std::vector<Source> sources(3);
  const float values[] = {1e8f, 1.0f, -1e8f};
  for (int s = 0; s < 3; ++s) {
    sources[s].ids = {0};
    sources[s].gradients = {0, values[s]};
  }
  std::vector<GradientSource> views = Views(sources);
  Table table(1, 1, *assign);
  TableUpdate update;
  update.optimizer = assign.get();
  update.table = table.View();
  update.sources = views;
  SparseUpdate(Span<TableUpdate>(&update, 1), scratch_, serial_);
  EXPECT_EQ(update.table.weights[0], 0);
  std::swap(views[1], views[2]);
  update.sources = views;
  SparseUpdate(Span<TableUpdate>(&update, 1), scratch_, serial_);
  EXPECT_EQ(update.table.weights[0], 1);
}

TEST_P(SparseUpdateTest, WeightsOfOneBagAreAddedInInputOrder) {
  // As above within one bag that names a row three times; 1 and 100
  // contributions of other rows make the short and the long sort do it.
  const auto assign = Make(AssignParams{});
  for (int64_t others : {1, 100}) {
    Source source;
    source.ids = {0, 0, 0};
    source.weights = {1e8f, 1.0f, -1e8f};
    for (int64_t i = 0; i < others; ++i) {
      source.ids.push_back(1 + i);
      source.weights.push_back(1);
    }
    source.offsets = {0, 3 + others};
    source.gradients = {0, 1};
    const std::vector<GradientSource> views = {source.View()};
    Table table(200, 1, *assign);
    TableUpdate update;
    update.optimizer = assign.get();
    update.table = table.View();
    update.sources = views;
    SparseUpdate(Span<TableUpdate>(&update, 1), scratch_, serial_);
    EXPECT_EQ(update.table.weights[0], 0);
    EXPECT_EQ(update.rows_touched, 1 + others);
  }
}

TEST_P(SparseUpdateTest, RowsWithGradientZeroAreStillTouched) {
  const auto momentum = Make(MomentumParams{0.5f, false});
  Source source;
  source.ids = {2, 3};
  source.scales = {1, 0};  // a mean with a zero denominator
  source.gradients = {0, 0, 5};
  const std::vector<GradientSource> views = {source.View()};
  Table table(5, 1, *momentum);
  const std::vector<std::vector<float>> before = table.arrays;
  TableUpdate update;
  update.optimizer = momentum.get();
  update.scalars.learning_rate = 1;
  update.table = table.View();
  update.sources = views;
  SparseUpdate(Span<TableUpdate>(&update, 1), scratch_, serial_);
  EXPECT_EQ(update.rows_touched, 2);
  for (int id = 0; id < 5; ++id) {
    const float slot = before[1][id + 1];
    const bool touched = id == 2 || id == 3;
    EXPECT_EQ(table.arrays[1][id + 1], touched ? slot / 2 : slot);
  }
}

TEST_P(SparseUpdateTest, NanAndInfinityStayInTheirRows) {
  const auto sgd = Make(SgdParams{});
  Source source;
  source.ids = {1, 2, 2};
  source.gradients = {0, std::numeric_limits<float>::quiet_NaN(),
                      std::numeric_limits<float>::infinity(), 1};
  const std::vector<GradientSource> views = {source.View()};
  Table table(4, 1, *sgd);
  const float last = table.arrays[0][4];
  TableUpdate update;
  update.optimizer = sgd.get();
  update.scalars.learning_rate = 1;
  update.table = table.View();
  update.sources = views;
  SparseUpdate(Span<TableUpdate>(&update, 1), scratch_, serial_);
  EXPECT_TRUE(std::isnan(update.table.weights[1]));
  EXPECT_EQ(update.table.weights[2], -std::numeric_limits<float>::infinity());
  EXPECT_EQ(update.table.weights[3], last);
}

TEST_P(SparseUpdateTest, NothingToDo) {
  ThreadPool pool(2);
  SparseUpdate(Span<TableUpdate>(), scratch_, pool);
  const auto sgd = Make(SgdParams{});
  Source empty_bags;
  empty_bags.offsets = {0, 0, 0};
  empty_bags.gradients.resize(1 + 2 * 3);
  const std::vector<GradientSource> views = {GradientSource(),
                                             empty_bags.View()};
  Table table(4, 3, *sgd);
  const std::vector<std::vector<float>> before = table.arrays;
  TableUpdate update;
  update.optimizer = sgd.get();
  update.table = table.View();
  update.rows_touched = 99;
  SparseUpdate(Span<TableUpdate>(&update, 1), scratch_, pool);
  EXPECT_EQ(update.rows_touched, 0);
  update.sources = views;
  SparseUpdate(Span<TableUpdate>(&update, 1), scratch_, pool);
  EXPECT_EQ(update.rows_touched, 0);
  EXPECT_EQ(table.arrays, before);
}

TEST_P(SparseUpdateTest, ManyTablesOfDifferentSizes) {
  ThreadPool pool(3);
  std::vector<std::unique_ptr<const Optimizer>> optimizers;
  std::vector<std::vector<Source>> sources;
  std::vector<std::vector<GradientSource>> views;
  std::vector<Table> tables, expected;
  for (int t = 0; t < 20; ++t) {
    Options o;
    o.rows = 10 + 500 * t;
    o.dim = 1 + 5 * t;
    o.positions = t == 7 ? 8000 : 50 * t;
    o.weighted = t % 3 == 0;
    optimizers.push_back(Make(t % 2 ? OptimizerParams(AdagradParams{})
                                    : OptimizerParams(SgdParams{})));
    sources.push_back(MakeSources(o, 40 + t));
    tables.emplace_back(o.rows, o.dim, *optimizers.back());
    expected.emplace_back(o.rows, o.dim, *optimizers.back());
  }
  for (const std::vector<Source>& s : sources) views.push_back(Views(s));
  std::vector<TableUpdate> updates(20);
  for (int t = 0; t < 20; ++t) {
    updates[t].optimizer = optimizers[t].get();
    updates[t].scalars.learning_rate = 0.5f;
    updates[t].sources = views[t];
    updates[t].table = expected[t].View();
    UpdateByRows(updates[t]);
    updates[t].table = tables[t].View();
  }
  SparseUpdate(updates, scratch_, pool);
  for (int t = 0; t < 20; ++t) {
    EXPECT_EQ(tables[t].arrays, expected[t].arrays) << t;
    EXPECT_EQ(updates[t].rows_touched, AccumulateRef(updates[t]).size());
  }
}

// Address space of which only the pages that are written exist.
class LazyTable {
 public:
  LazyTable(int64_t rows, int64_t dim) : bytes_(rows * dim * sizeof(float)) {
    void* const mapping =
        mmap(nullptr, bytes_, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping != MAP_FAILED) data_ = static_cast<float*>(mapping);
  }
  ~LazyTable() {
    if (data_ != nullptr) munmap(data_, bytes_);
  }
  float* data() { return data_; }

 private:
  size_t bytes_;
  float* data_ = nullptr;
};

TEST_P(SparseUpdateTest, TablesOfMoreThanTwoToTheThirtyOneElements) {
  const auto sgd = Make(SgdParams{});
  ThreadPool pool(2);
  // The second has more rows than 32 bits can count.
  for (const auto& [rows, dim] : std::vector<std::pair<int64_t, int64_t>>{
           {50'000'000, 64}, {5'000'000'000, 1}}) {
    LazyTable table(rows, dim);
    if (table.data() == nullptr) GTEST_SKIP() << "no address space";
    Source source;
    source.ids = {rows - 1, 33'554'432, 0, rows - 1};
    source.gradients.resize(1 + 4 * dim, 1.0f);
    const std::vector<GradientSource> views = {source.View()};
    TableUpdate update;
    update.optimizer = sgd.get();
    update.scalars.learning_rate = 1;
    update.table.rows = rows;
    update.table.dim = dim;
    update.table.weights = table.data();
    update.sources = views;
    SparseUpdate(Span<TableUpdate>(&update, 1), scratch_, pool);
    EXPECT_EQ(update.rows_touched, 3);
    for (int64_t k = 0; k < dim; ++k) {
      EXPECT_EQ(table.data()[(rows - 1) * dim + k], -2);
      EXPECT_EQ(table.data()[33'554'432 * dim + k], -1);
      EXPECT_EQ(table.data()[k], -1);
      EXPECT_EQ(table.data()[dim + k], 0);
    }
  }
}

}  // namespace
}  // namespace tf_embed
