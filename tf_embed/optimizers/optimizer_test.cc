#include "tf_embed/optimizers/optimizer.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/optimizers_ref.h"

namespace tf_embed {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kEpsilon = std::numeric_limits<float>::epsilon();

OptimizerConfig ConfigOf(OptimizerParams params) {
  OptimizerConfig config;
  config.params = std::move(params);
  return config;
}

std::unique_ptr<const Optimizer> Make(const OptimizerConfig& config) {
  StatusOr<std::unique_ptr<const Optimizer>> made = Optimizer::Create(config);
  EXPECT_TRUE(made.ok()) << made.status().message();
  return std::move(made).value();
}

// A row and its slots.
struct Row {
  std::vector<float> w;
  std::vector<std::vector<float>> s;

  void Update(const Optimizer& optimizer, const StepScalars& scalars,
              const std::vector<float>& gradient) {
    std::vector<float*> slots;
    for (std::vector<float>& slot : s) slots.push_back(slot.data());
    optimizer.UpdateRow(scalars, gradient.data(), w.data(), slots.data(),
                        w.size());
  }
};

// Runs the body once for each SIMD target of the machine.
class OptimizerTest : public testing::TestWithParam<SimdTarget> {
 protected:
  void SetUp() override { ForceSimdTarget(GetParam()); }
  void TearDown() override { UseBestSimdTarget(); }
};

INSTANTIATE_TEST_SUITE_P(Targets, OptimizerTest,
                         testing::ValuesIn(SupportedSimdTargets()),
                         [](const testing::TestParamInfo<SimdTarget>& info) {
                           return std::string(SimdTargetName(info.param));
                         });

// ---------------------------------------------------------------------------
// Two steps by hand: gradients 0.5 and -0.25, learning rate 0.5.

struct TwoSteps {
  const char* name;  // of the algorithm
  OptimizerParams params;
  std::vector<const char*> slot_names;
  std::vector<float> before;  // weight, slots
  std::vector<float> after;
};

std::vector<TwoSteps> TwoStepCases() {
  const bool t = true, f = false;
  return {
      {"StochasticGradientDescent", SgdParams{}, {}, {1}, {0.875}},
      {"Assign", AssignParams{}, {}, {1}, {-0.25}},
      {"Adagrad",
       AdagradParams{},
       {"accumulators"},
       {1, 0.1f},
       {0.772047609f, 0.4125f}},
      {"AdagradMomentum",
       AdagradMomentumParams{0.5f, f, 2, 1, 0.01f},
       {"accumulators", "momenta"},
       {1, 0.1f, 0.2f},
       {0.492307692f, 0.4125f, 0.0820512821f}},
      {"AdagradMomentum",
       AdagradMomentumParams{0.5f, t, 4, 0.75f, 0.01f},
       {"accumulators", "momenta"},
       {1, 0.1f, 0.2f},
       {0.569554573f, 0.11875f, 0.0360530022f}},
      {"BoundedAdagrad",
       BoundedAdagradParams{t, 0.3f, 0.375f},
       {"accumulators"},
       {1, 0.25f},
       {0.904124145f, 0.375f}},
      {"BoundedAdagrad",
       BoundedAdagradParams{f, 0, 0},
       {"accumulators"},
       {1, 0.25f},
       {0.676776695f, 0.5625f}},
      {"FrequencyAwareAdagrad",  // step counters 10 and 11
       FrequencyAwareAdagradParams{0.125f, 0.25f, 3, 0.5f, 0.5f, 0.0625f, 0},
       {"accumulators", "counters"},
       {1, 0.1f, 0},
       {0.211228179f, 0.2125f, 2}},
      {"FTRL",
       FtrlParams{0.125f, 0.25f, -0.5f, 0, f},
       {"accumulators", "linears"},
       {1, 0.25f, -2},
       {1.05969903f, 0.5625f, -2.24439806f}},
      {"FTRL",
       FtrlParams{0.125f, 0.25f, -0.25f, 0.5f, t},
       {"accumulators", "linears"},
       {1, 0.25f, -2},
       {1.22217002f, 0.5625f, -2.0375578f}},
      {"ADAM",
       AdamParams{0.75f, 0.875f, 0.1f, f, t},
       {"momenta", "velocities"},
       {1, 0.5f, 0.25f},
       {0.188456748f, 0.3125f, 0.2265625f}},
      {"ADAM",
       AdamParams{0.75f, 0.875f, 0.1f, f, f},
       {"momenta", "velocities"},
       {1, 0.5f, 0.25f},
       {0.312059294f, 0.3125f, 0.2265625f}},
      {"Momentum",
       MomentumParams{0.5f, f},
       {"momenta"},
       {1, 0.25f},
       {0.65625f, 0.0625f}},
      {"Momentum",
       MomentumParams{0.5f, t},
       {"momenta"},
       {1, 0.25f},
       {0.703125f, 0.0625f}},
      {"Lion",
       LionParams{0.5f, 0.75f, f},
       {"momenta"},
       {1, 0.25f},
       {0, 0.171875f}},
      {"RMSProp",
       RmsPropParams{0.75f, 0.5f, 0.01f},
       {"ms", "mom"},
       {1, 0.5f, 0.25f},
       {0.462089356f, 0.34375f, 0.0391930973f}},
      {"CenteredRMSProp",
       CenteredRmsPropParams{0.75f, 0.5f, 0.01f},
       {"ms", "mom", "mg"},
       {1, 0.5f, 0.25f, 0.125f},
       {0.432610653f, 0.34375f, 0.0469308156f, 0.1015625f}},
      {"Adadelta",
       AdadeltaParams{0.75f, 0.01f},
       {"accumulators", "updates"},
       {1, 0.5f, 0.25f},
       {0.911064621f, 0.34375f, 0.17818706f}},
      {"ProximalAdagrad",
       ProximalAdagradParams{0.125f, 0.25f},
       {"accumulators"},
       {1, 0.1f},
       {0.407489684f, 0.4125f}},
      {"OnlineYogi",
       OnlineYogiParams{0.125f, 0.25f, 0.75f},
       {"vs", "linears"},
       {1, 0.1f, -2},
       {1.38308008f, 0.146875f, -1.87665084f}},
      {"ProximalYogi",
       ProximalYogiParams{0.125f, 0.25f, 0.75f, 0.875f, 0.1f},
       {"v", "m"},
       {1, 0.1f, 0.2f},
       {0.116588859f, 0.1234375f, 0.14375f}},
  };
}

TEST_P(OptimizerTest, TwoStepsGiveTheNumbersComputedByHand) {
  for (const TwoSteps& c : TwoStepCases()) {
    SCOPED_TRACE(c.name);
    const auto optimizer = Make(ConfigOf(c.params));
    EXPECT_STREQ(optimizer->name(), c.name);
    EXPECT_TRUE(optimizer->CanUpdate().ok());
    ASSERT_EQ(optimizer->slots().size(), c.slot_names.size());
    for (size_t i = 0; i < c.slot_names.size(); ++i) {
      EXPECT_STREQ(optimizer->slots()[i].name, c.slot_names[i]);
    }
    // 19 columns: full vectors and a tail on every target.
    Row row;
    row.w.assign(19, c.before[0]);
    for (size_t i = 1; i < c.before.size(); ++i) {
      row.s.emplace_back(19, c.before[i]);
    }
    row.Update(*optimizer, {0.5f, 10}, std::vector<float>(19, 0.5f));
    row.Update(*optimizer, {0.5f, 11}, std::vector<float>(19, -0.25f));
    for (int k = 0; k < 19; ++k) {
      EXPECT_NEAR(row.w[k], c.after[0], 1e-6) << k;
      for (size_t i = 1; i < c.after.size(); ++i) {
        EXPECT_NEAR(row.s[i - 1][k], c.after[i], 1e-6) << k;
      }
    }
  }
}

TEST_P(OptimizerTest, FrequencyEstimatorByHand) {
  // Steps 7 and 9, last hit at 0: 7 is an outlier, capped at 5; then
  // 5 * 0.75 + 2 * 0.25.
  const auto optimizer = Make(ConfigOf(FrequencyEstimatorParams{0.25f, 5, 2}));
  EXPECT_STREQ(optimizer->name(), "FrequencyEstimator");
  EXPECT_STREQ(optimizer->slots()[0].name, "last_hit_step");
  Row row{{3}, {{0}}};
  row.Update(*optimizer, {7, 0}, {0});
  EXPECT_EQ(row.w[0], 5);
  EXPECT_EQ(row.s[0][0], 7);
  row.Update(*optimizer, {9, 0}, {kNan});  // the gradient is ignored
  EXPECT_EQ(row.w[0], 4.25f);
  EXPECT_EQ(row.s[0][0], 9);
}

TEST(OptimizerSlotsTest, InitialValues) {
  const std::vector<std::pair<OptimizerParams, std::vector<float>>> cases = {
      {AdagradParams{}, {0.1f}},
      {AdagradMomentumParams{0, false, 2, 1, 0}, {0, 0}},
      {BoundedAdagradParams{}, {0.1f}},
      {FrequencyAwareAdagradParams{}, {0.1f, 0}},
      {FtrlParams{}, {0.1f, 0}},
      {AdamParams{}, {0, 0}},
      {MomentumParams{}, {0}},
      {LionParams{}, {0}},
      {RmsPropParams{}, {0, 0}},
      {CenteredRmsPropParams{}, {0, 0, 0}},
      {AdadeltaParams{}, {0, 0}},
      {ProximalAdagradParams{}, {0.1f}},
      {OnlineYogiParams{}, {0.1f, 0}},
      {ProximalYogiParams{}, {1e-6f, 0}},
      {MdlAdagradLightParams{}, {0.1f, 0, 0}},
      {FrequencyEstimatorParams{}, {0}},
  };
  for (const auto& [params, values] : cases) {
    const auto optimizer = Make(ConfigOf(params));
    SCOPED_TRACE(optimizer->name());
    ASSERT_EQ(optimizer->slots().size(), values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(optimizer->slots()[i].initial_value, values[i]);
    }
  }
}

// ---------------------------------------------------------------------------
// Random rows against the reference.

std::vector<OptimizerConfig> RandomCases() {
  std::vector<OptimizerConfig> cases;
  for (const TwoSteps& c : TwoStepCases()) cases.push_back(ConfigOf(c.params));
  for (const OptimizerParams& params : std::vector<OptimizerParams>{
           AdagradMomentumParams{0.9f, true, 3, 0.9f, 1e-3f},
           BoundedAdagradParams{false, 0.05f, 1},
           FrequencyAwareAdagradParams{0, 0, 0, 1, 0, 0, 0},
           FrequencyAwareAdagradParams{0, 0.1f, 2, 0.3f, 0.9f, 0.5f, 0},
           FtrlParams{0, 0, -0.5f, 0, false},
           FtrlParams{0.5f, 0.1f, -0.7f, 0.3f, false},
           FtrlParams{0.5f, 0.1f, 0, 0.3f, true},
           FtrlParams{0.5f, 0.1f, -1, 0.3f, true},
           ProximalYogiParams{0, 0, 0.9f, 0.99f, 1e-3f},
           FrequencyEstimatorParams{0.1f, 0.5f, 0.7f}}) {
    cases.push_back(ConfigOf(params));
  }
  const size_t plain = cases.size();
  for (size_t i = 0; i < plain; ++i) {
    OptimizerConfig config = cases[i];
    config.gradient_clipping_limits = {-0.5f, 0.75f};
    config.clipping_limits = {-0.9f, kInf};
    config.weight_decay_factor = 0.125f;
    config.multiply_weight_decay_factor_by_learning_rate = i % 2;
    cases.push_back(config);
  }
  return cases;
}

TEST_P(OptimizerTest, ABlockIsUpdatedRowByRow) {
  std::mt19937 rng(7);
  std::uniform_real_distribution<float> positive(0.4f, 1);
  const StepScalars scalars{0.3f, 7};
  const std::vector<int64_t> rows = {5, 0, 8, 2, 3};
  const std::vector<int64_t> ahead = {8, 8, 1, 0, 5};
  const std::vector<float> scales = {1, 0.3f, -2, 0, 0.7f};
  constexpr int64_t kTableRows = 9;
  for (const OptimizerConfig& config : RandomCases()) {
    const auto optimizer = Make(config);
    for (const int64_t dim : {3, 16, 21, 64}) {
      SCOPED_TRACE(testing::Message() << optimizer->name() << " dim " << dim);
      std::vector<std::vector<float>> arrays(
          1 + optimizer->slots().size(), std::vector<float>(kTableRows * dim));
      for (std::vector<float>& array : arrays) {
        for (float& x : array) x = positive(rng);
      }
      if (arrays.size() == 4) {
        // mg of CenteredRMSProp, whose square must stay below ms.
        for (float& x : arrays[3]) x *= 0.3f;
      }
      std::vector<std::vector<float>> gradients(rows.size());
      std::vector<const float*> pointers;
      for (std::vector<float>& gradient : gradients) {
        for (int k = 0; k < dim; ++k) gradient.push_back(positive(rng));
        pointers.push_back(gradient.data());
      }
      std::vector<std::vector<float>> expected = arrays;
      std::vector<float*> slots(expected.size() - 1);
      for (size_t i = 0; i < rows.size(); ++i) {
        std::vector<float> scaled = gradients[i];
        for (float& g : scaled) g *= scales[i];
        for (size_t s = 0; s < slots.size(); ++s) {
          slots[s] = &expected[1 + s][rows[i] * dim];
        }
        optimizer->UpdateRow(scalars, scaled.data(),
                             &expected[0][rows[i] * dim], slots.data(), dim);
      }
      for (size_t s = 0; s < slots.size(); ++s) slots[s] = arrays[1 + s].data();
      RowBlock block;
      block.num_rows = rows.size();
      block.rows = rows.data();
      block.gradients = pointers.data();
      block.scales = scales.data();
      block.weights = arrays[0].data();
      block.slots = slots.data();
      block.dim = dim;
      block.far_rows = ahead.data();
      block.near_rows = ahead.data();
      optimizer->UpdateRows(scalars, block);
      EXPECT_EQ(arrays, expected);
    }
  }
}

TEST_P(OptimizerTest, RandomRowsOfAnyWidthAgreeWithTheReference) {
  const uint32_t seed = 20241;
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 rng(seed);
  std::uniform_real_distribution<float> symmetric(-1, 1);
  std::uniform_real_distribution<float> positive(0.4f, 1);
  const StepScalars scalars{0.3f, 7};
  const std::vector<OptimizerConfig> cases = RandomCases();
  for (const OptimizerConfig& config : cases) {
    const auto optimizer = Make(config);
    const int num_slots = optimizer->slots().size();
    for (int dim : {1, 3, 7, 8, 15, 16, 17, 31, 64, 85, 128, 163}) {
      SCOPED_TRACE(testing::Message()
                   << optimizer->name() << " case " << (&config - cases.data())
                   << " dim " << dim);
      // One array for all, each part off the alignment, with guards between.
      const int stride = dim + 3;
      std::vector<float> memory((2 + num_slots) * stride + 1);
      for (float& x : memory) x = positive(rng);
      float* const g = &memory[1];
      float* const w = g + stride;
      std::vector<float*> slots;
      for (int i = 0; i < num_slots; ++i) {
        slots.push_back(g + (2 + i) * stride);
      }
      for (int k = 0; k < dim; ++k) {
        g[k] = symmetric(rng);
        w[k] = symmetric(rng);
        // mg of CenteredRMSProp, whose square must stay below ms.
        if (num_slots == 3) slots[2][k] *= 0.3f;
      }
      const std::vector<float> before = memory;
      optimizer->UpdateRow(scalars, g, w, slots.data(), dim);
      std::vector<float> expected = before;
      for (int k = 0; k < dim; ++k) {
        ElementRef element;
        element.w = before[w - memory.data() + k];
        for (int i = 0; i < num_slots; ++i) {
          element.s[i] = before[slots[i] - memory.data() + k];
        }
        UpdateElementRef(config, scalars, g[k], element);
        // All inputs are at most 1, no divisor is below 0.05 and no formula has
        // more than 30 roundings.
        const double tolerance =
            30 * kEpsilon * 10 * (1 + std::fabs(element.w));
        EXPECT_NEAR(w[k], element.w, tolerance) << k;
        expected[w - memory.data() + k] = w[k];
        for (int i = 0; i < num_slots; ++i) {
          EXPECT_NEAR(slots[i][k], element.s[i],
                      30 * kEpsilon * 10 * (1 + std::fabs(element.s[i])))
              << k << " slot " << i;
          expected[slots[i] - memory.data() + k] = slots[i][k];
        }
      }
      // Gradient and guards are as they were.
      EXPECT_EQ(memory, expected);
    }
  }
}

TEST_P(OptimizerTest, AnElementDoesNotDependOnItsPlaceInTheRow) {
  for (const OptimizerConfig& config : RandomCases()) {
    const auto optimizer = Make(config);
    SCOPED_TRACE(optimizer->name());
    Row wide{std::vector<float>(37, 0.3f), {}};
    Row narrow{{0.3f}, {}};
    for (size_t i = 0; i < optimizer->slots().size(); ++i) {
      wide.s.emplace_back(37, 0.7f);
      narrow.s.push_back({0.7f});
    }
    for (int step = 0; step < 3; ++step) {
      wide.Update(*optimizer, {0.1f, 3}, std::vector<float>(37, 0.123f));
      narrow.Update(*optimizer, {0.1f, 3}, {0.123f});
    }
    for (float w : wide.w) {
      EXPECT_EQ(std::memcmp(&w, &narrow.w[0], sizeof(w)), 0);
    }
  }
}

// ---------------------------------------------------------------------------
// What surrounds the formula, and the edges.

TEST_P(OptimizerTest, TheAccumulatedGradientIsClipped) {
  OptimizerConfig config = ConfigOf(SgdParams{});
  config.gradient_clipping_limits = {-0.1f, 0.25f};
  Row row{{1, 1, 1}, {}};
  row.Update(*Make(config), {1, 0}, {5, -5, 0.125f});
  EXPECT_EQ(row.w, (std::vector<float>{0.75f, 1.1f, 0.875f}));
}

TEST_P(OptimizerTest, DecayComesBeforeTheFormula) {
  OptimizerConfig config = ConfigOf(AssignParams{});
  config.weight_decay_factor = 0.5f;
  Row assigned{{8}, {}};
  assigned.Update(*Make(config), {1, 0}, {3});
  EXPECT_EQ(assigned.w[0], 3);

  config.params = SgdParams{};
  Row row{{8}, {}};
  row.Update(*Make(config), {0.25f, 0}, {4});
  EXPECT_EQ(row.w[0], 3);  // 8 * 0.5 - 0.25 * 4

  config.multiply_weight_decay_factor_by_learning_rate = true;
  Row scaled{{8}, {}};
  scaled.Update(*Make(config), {0.25f, 0}, {4});
  EXPECT_EQ(scaled.w[0], 6);  // 8 * 0.875 - 1
}

TEST_P(OptimizerTest, WeightsAreClippedAfterTheFormula) {
  OptimizerConfig config = ConfigOf(SgdParams{});
  config.clipping_limits.upper = 0.5f;
  Row row{{0, 0}, {}};
  row.Update(*Make(config), {1, 0}, {-3, 3});
  EXPECT_EQ(row.w, (std::vector<float>{0.5f, -3}));
}

TEST_P(OptimizerTest, NanGradientPassesThroughClipping) {
  OptimizerConfig config = ConfigOf(SgdParams{});
  config.gradient_clipping_limits = {-1, 1};
  config.clipping_limits = {-1, 1};
  Row row{std::vector<float>(20, 0), {}};
  std::vector<float> gradient(20, 0.5f);
  gradient[3] = kNan;
  gradient[17] = kInf;
  row.Update(*Make(config), {1, 0}, gradient);
  for (int k = 0; k < 20; ++k) {
    if (k == 3) {
      EXPECT_TRUE(std::isnan(row.w[k]));
    } else {
      EXPECT_EQ(row.w[k], k == 17 ? -1 : -0.5f);
    }
  }
}

TEST_P(OptimizerTest, ZeroGradientOnZeroAccumulatorsLeavesTheWeight) {
  for (const OptimizerParams& params : std::vector<OptimizerParams>{
           AdagradParams{}, BoundedAdagradParams{true, 0, 0},
           BoundedAdagradParams{false, 0.1f, 0}, FrequencyAwareAdagradParams{},
           ProximalAdagradParams{0.1f, 0.1f}}) {
    const auto optimizer = Make(ConfigOf(params));
    SCOPED_TRACE(optimizer->name());
    Row row{{0.75f}, {}};
    row.s.assign(optimizer->slots().size(), {0.0f});
    row.Update(*optimizer, {0.1f, 1}, {0});
    EXPECT_EQ(row.w[0], 0.75f);
    EXPECT_EQ(row.s[0][0], 0);
  }
}

TEST_P(OptimizerTest, FtrlWithoutDenominatorGivesZero) {
  Row row{{0.75f}, {{0}, {0}}};
  row.Update(*Make(ConfigOf(FtrlParams{0, 0, -0.5f, 0, false})), {0.1f, 0},
             {0});
  EXPECT_EQ(row.w[0], 0);
}

TEST_P(OptimizerTest, FtrlOverwritesATouchedRowWithoutGradient) {
  Row row{{0.75f}, {{0.1f}, {0}}};
  row.Update(*Make(ConfigOf(FtrlParams{0, 0, -0.5f, 0, false})), {0.1f, 0},
             {0});
  EXPECT_EQ(row.w[0], 0);  // linear is 0
}

TEST_P(OptimizerTest, MomentumMovesTheWeightWithoutGradient) {
  Row row{{1}, {{2}}};
  row.Update(*Make(ConfigOf(MomentumParams{0.5f, false})), {0.5f, 0}, {0});
  EXPECT_EQ(row.w[0], 0.5f);
  EXPECT_EQ(row.s[0][0], 1);
}

TEST(OptimizerCreateTest, NonLazyOptimizersUpdateUntouchedRows) {
  EXPECT_TRUE(Make(ConfigOf(AdamParams{0.9f, 0.99f, 1e-7f, true, true}))
                  ->UpdatesUntouchedRows());
  EXPECT_FALSE(Make(ConfigOf(AdamParams{0.9f, 0.99f, 1e-7f, false, true}))
                   ->UpdatesUntouchedRows());
  EXPECT_TRUE(
      Make(ConfigOf(LionParams{0.9f, 0.99f, true}))->UpdatesUntouchedRows());
  EXPECT_FALSE(Make(ConfigOf(AdagradParams{}))->UpdatesUntouchedRows());
}

TEST(OptimizerCreateTest, MdlAdagradLightCannotUpdate) {
  const auto optimizer = Make(ConfigOf(MdlAdagradLightParams{}));
  EXPECT_STREQ(optimizer->name(), "MDLAdagradLight");
  EXPECT_EQ(optimizer->slots().size(), 3);
  EXPECT_EQ(optimizer->CanUpdate().code(), StatusCode::kUnimplemented);
  EXPECT_EQ(optimizer->CanUpdate().message(),
            "the update rule of MDLAdagradLight is not public");
}

TEST(OptimizerCreateTest, WhatDividesByTheLearningRateRefusesZero) {
  FtrlParams ftrl;
  ftrl.lr_power = -0.5f;
  const auto standard = Make(ConfigOf(ftrl));
  EXPECT_EQ(standard->CheckLearningRate(0).message(),
            "the learning rate is 0, but FTRL divides by it");
  EXPECT_TRUE(standard->CheckLearningRate(0.1f).ok());
  ftrl.multiply_linear_by_lr = true;
  EXPECT_TRUE(Make(ConfigOf(ftrl))->CheckLearningRate(0).ok());
  EXPECT_FALSE(Make(ConfigOf(OnlineYogiParams{}))->CheckLearningRate(0).ok());
  EXPECT_TRUE(Make(ConfigOf(AdagradParams{}))->CheckLearningRate(0).ok());
}

TEST(OptimizerCreateTest, RefusesWhatItCannotDo) {
  OptimizerConfig limits = ConfigOf(SgdParams{});
  limits.clipping_limits = {2, 1};
  OptimizerConfig gradient_limits = ConfigOf(SgdParams{});
  gradient_limits.gradient_clipping_limits = {kNan, 1};
  OptimizerConfig buckets = ConfigOf(SgdParams{});
  buckets.simulated_quantization = {1, 0.0f, 1.0f};
  OptimizerConfig one_limit = ConfigOf(SgdParams{});
  one_limit.simulated_quantization = {16, 0.0f, std::nullopt};
  OptimizerConfig empty_range = ConfigOf(SgdParams{});
  empty_range.simulated_quantization = {16, 1.0f, 1.0f};
  struct Case {
    OptimizerConfig config;
    StatusCode code;
    const char* message;
  };
  const std::vector<Case> cases = {
      {OptimizerConfig{}, StatusCode::kInvalidArgument,
       "No optimization algorithm specified"},
      {ConfigOf(UserDefinedProgramParams{}), StatusCode::kUnimplemented,
       "UserDefinedProgram optimizers are not supported"},
      {ConfigOf(AdagradMomentumParams{}), StatusCode::kInvalidArgument,
       "AdagradMomentum has exponent 0; it must be greater than 0"},
      {ConfigOf(FtrlParams{0, 0, 0.5f, 0, false}), StatusCode::kInvalidArgument,
       "FTRL has lr_power 0.5; it must not be greater than 0"},
      {limits, StatusCode::kInvalidArgument,
       "clipping_limits has lower 2 and upper 1; lower must not exceed upper"},
      {gradient_limits, StatusCode::kInvalidArgument,
       "gradient_clipping_limits has lower nan and upper 1; lower must not "
       "exceed upper"},
      {buckets, StatusCode::kInvalidArgument,
       "simulated_quantization has num_buckets 1; it must be at least 2"},
      {one_limit, StatusCode::kInvalidArgument,
       "simulated_quantization must have both clipping limits"},
      {empty_range, StatusCode::kInvalidArgument,
       "simulated_quantization has lower 1 and upper 1; lower must be below "
       "upper and both finite"},
  };
  for (const Case& c : cases) {
    const Status status = Optimizer::Create(c.config).status();
    EXPECT_EQ(status.code(), c.code);
    EXPECT_EQ(status.message(), c.message);
  }
}

}  // namespace
}  // namespace tf_embed
