// bazel run -c opt //tf_embed/engine:batch_benchmark
//
// What an Enqueue op does: checks a batch and copies it, one thread. Beside it
// a bare copy of the same ids and weights, which nothing can be quicker than.
// Counter: ids/s.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "benchmark/benchmark.h"
#include "tf_embed/engine/batch.h"
#include "tf_embed/engine/enqueue_builder.h"
#include "tf_embed/lookup/workload.h"

namespace tf_embed {
namespace {

constexpr int kNumBatches = 16;

enum class Form { kDense, kRagged, kSparse, kShuffled };

EngineConfig ConfigOf(const WorkloadSpec& spec) {
  EngineConfig config;
  config.mode = Mode::kInference;
  config.num_tensor_cores = 1;
  for (int64_t t = 0; t < spec.num_tables; ++t) {
    TableConfig table;
    table.name = StrCat("table", t);
    table.vocabulary_size = spec.rows;
    table.dimension = spec.dim;
    config.tables.push_back(table);
    config.features.push_back(
        {StrCat("feature", t), static_cast<int>(t), {spec.batch}});
  }
  return config;
}

// The inputs of one table, in one of the forms that the op takes.
void AddInput(const WorkloadBag& bag, Form form, EnqueueBuilder& builder) {
  const std::vector<double> weights(bag.weights.begin(), bag.weights.end());
  if (form == Form::kDense) {
    builder.Dense(bag.ids, weights);
    return;
  }
  if (form == Form::kRagged) {
    builder.Ragged(bag.offsets, bag.ids, weights);
    return;
  }
  std::vector<std::pair<int64_t, int64_t>> places;  // of each id
  for (size_t row = 0; row + 1 < bag.offsets.size(); ++row) {
    for (int64_t i = bag.offsets[row]; i < bag.offsets[row + 1]; ++i) {
      places.emplace_back(row, i - bag.offsets[row]);
    }
  }
  if (form == Form::kShuffled) {
    std::shuffle(places.begin(), places.end(), std::mt19937(7));
  }
  std::vector<int64_t> coordinates;
  for (const auto& [row, column] : places) {
    coordinates.push_back(row);
    coordinates.push_back(column);
  }
  builder.Sparse(coordinates, 2, bag.ids, weights);
}

void BM_BuildBatch(benchmark::State& state, const WorkloadSpec& spec,
                   Form form) {
  EngineConfig config = ConfigOf(spec);
  if (!Populate(config).ok()) return state.SkipWithError("bad config");
  std::vector<std::unique_ptr<EnqueueBuilder>> builders;
  std::vector<EnqueueRequest> requests;
  int64_t num_ids = 0;
  for (const WorkloadBatch& batch :
       MakeBatches(spec, IdDistribution::kUniform, kNumBatches, 7)) {
    builders.push_back(std::make_unique<EnqueueBuilder>());
    builders.back()->combiners.assign(
        spec.num_tables, spec.mean ? Combiner::kMean : Combiner::kSum);
    for (const WorkloadBag& bag : batch) {
      AddInput(bag, form, *builders.back());
    }
    requests.push_back(builders.back()->Build());
    num_ids += NumIds(batch);
  }
  Batch built;
  size_t b = 0;
  for (auto _ : state) {
    const Status status =
        BuildBatch(config, requests[b], Mode::kUnspecified, {}, built);
    if (!status.ok()) return state.SkipWithError(status.message().c_str());
    benchmark::ClobberMemory();
    b = (b + 1) % kNumBatches;
  }
  state.counters["ids/s"] =
      benchmark::Counter(1.0 * num_ids / kNumBatches,
                         benchmark::Counter::kIsIterationInvariantRate);
}

void BM_Copy(benchmark::State& state, const WorkloadSpec& spec) {
  const std::vector<WorkloadBatch> batches =
      MakeBatches(spec, IdDistribution::kUniform, kNumBatches, 7);
  int64_t num_ids = 0;
  for (const WorkloadBatch& batch : batches) num_ids += NumIds(batch);
  WorkloadBatch copy(spec.num_tables);
  size_t b = 0;
  for (auto _ : state) {
    for (int64_t t = 0; t < spec.num_tables; ++t) {
      copy[t].ids = batches[b][t].ids;
      copy[t].weights = batches[b][t].weights;
    }
    benchmark::ClobberMemory();
    b = (b + 1) % kNumBatches;
  }
  state.counters["ids/s"] =
      benchmark::Counter(1.0 * num_ids / kNumBatches,
                         benchmark::Counter::kIsIterationInvariantRate);
}

void RegisterAll() {
  const auto add = [](const std::string& name, auto* run, auto... arguments) {
    benchmark::RegisterBenchmark(name.c_str(), run, arguments...)
        ->Unit(benchmark::kMicrosecond);
  };
  add("BuildBatch/W1/dense", BM_BuildBatch, W1(), Form::kDense);
  add("Copy/W1", BM_Copy, W1());
  for (const WorkloadSpec& spec : {W2Mean(), W2Weighted()}) {
    add("BuildBatch/" + spec.name + "/ragged", BM_BuildBatch, spec,
        Form::kRagged);
    add("BuildBatch/" + spec.name + "/sparse", BM_BuildBatch, spec,
        Form::kSparse);
    add("BuildBatch/" + spec.name + "/shuffled", BM_BuildBatch, spec,
        Form::kShuffled);
    add("Copy/" + spec.name, BM_Copy, spec);
  }
}

const bool registered = (RegisterAll(), true);

}  // namespace
}  // namespace tf_embed
