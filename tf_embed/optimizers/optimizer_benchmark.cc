// bazel run -c opt //tf_embed/optimizers:optimizer_benchmark
//
// What a formula costs when all of its row is in the level-1 cache, dim 64, on
// each SIMD target of the machine.

#include <string>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "tf_embed/base/simd_targets.h"
#include "tf_embed/optimizers/optimizer.h"

namespace tf_embed {
namespace {

constexpr int kDim = 64;

void BM_UpdateRow(benchmark::State& state, const OptimizerParams& params,
                  SimdTarget target) {
  ForceSimdTarget(target);
  OptimizerConfig config;
  config.params = params;
  const auto optimizer = std::move(Optimizer::Create(config)).value();
  UseBestSimdTarget();
  std::vector<float> gradient(kDim, 0.001f);
  std::vector<float> weights(kDim, 0.5f);
  std::vector<std::vector<float>> arrays(kMaxSlots,
                                         std::vector<float>(kDim, 0.5f));
  std::vector<float*> slots;
  for (std::vector<float>& array : arrays) slots.push_back(array.data());
  const StepScalars scalars{0.01f, 10};
  for (auto _ : state) {
    optimizer->UpdateRow(scalars, gradient.data(), weights.data(), slots.data(),
                         kDim);
    benchmark::ClobberMemory();
  }
  if (!(weights[0] < 100)) state.SkipWithError("wrong result");
  state.counters["rows/s"] =
      benchmark::Counter(state.iterations(), benchmark::Counter::kIsRate);
}

void RegisterAll() {
  const std::vector<std::pair<const char*, OptimizerParams>> optimizers = {
      {"Sgd", SgdParams{}},
      {"Adagrad", AdagradParams{}},
      {"AdagradMomentum", AdagradMomentumParams{0.9f, false, 2, 1, 1e-10f}},
      {"Adam", AdamParams{0.9f, 0.999f, 1e-7f, false, true}},
      {"Ftrl", FtrlParams{0.01f, 0.01f, -0.5f, 0, false}},
      {"FtrlPower0.7", FtrlParams{0.01f, 0.01f, -0.7f, 0, false}},
      {"Momentum", MomentumParams{0.9f, true}},
      {"Lion", LionParams{0.9f, 0.99f, false}},
      {"RmsProp", RmsPropParams{0.9f, 0.9f, 1e-7f}},
      {"Adadelta", AdadeltaParams{0.95f, 1e-6f}},
      {"ProximalAdagrad", ProximalAdagradParams{0.01f, 0.01f}},
      {"ProximalYogi", ProximalYogiParams{0.01f, 0.01f, 0.9f, 0.999f, 1e-3f}},
  };
  for (const auto& [name, params] : optimizers) {
    for (SimdTarget target : SupportedSimdTargets()) {
      benchmark::RegisterBenchmark(
          (std::string("UpdateRow/") + name + "/" + SimdTargetName(target))
              .c_str(),
          BM_UpdateRow, params, target);
    }
  }
}

const bool registered = (RegisterAll(), true);

}  // namespace
}  // namespace tf_embed
