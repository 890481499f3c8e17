#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "benchmarks/core/system.h"
#include "tf_embed/base/thread_pool.h"
#include "tf_embed/engine/engine.h"

namespace tf_embed {
namespace {

class EngineSystem final : public System {
 public:
  explicit EngineSystem(const Inputs& inputs)
      : inputs_(inputs), pool_(inputs.threads) {}

  Status Init() {
    TF_EMBED_ASSIGN_OR_RETURN(engine_, Engine::Create(Config(), {}, pool_));
    TF_EMBED_RETURN_IF_ERROR(LoadTables());
    outputs_.resize(inputs_.tables * inputs_.batch * inputs_.dim);
    for (int64_t t = 0; t < inputs_.tables; ++t) {
      output_pointers_.push_back(outputs_.data() +
                                 t * inputs_.batch * inputs_.dim);
      gradient_pointers_.push_back(inputs_.gradient(t));
    }
    combiners_.assign(inputs_.tables,
                      inputs_.mean ? Combiner::kMean : Combiner::kSum);
    for (const BatchInput& batch : inputs_.batches) AddBatch(batch);
    return OkStatus();
  }

  Status Forward(int b) override { return LookUp(b, Mode::kInference); }

  Status Step(int b) override {
    TF_EMBED_RETURN_IF_ERROR(LookUp(b, Mode::kTraining));
    return engine_->Send({}, gradient_pointers_, nullptr, {}, nullptr, pool_);
  }

  Span<const float> outputs() const override { return outputs_; }

 private:
  struct Batch {
    std::vector<std::vector<int64_t>> splits;   // of each table
    std::vector<std::array<int64_t, 2>> sizes;  // of each table: splits, ids
    std::vector<EnqueueInput> inputs;
  };

  EngineConfig Config() const {
    EngineConfig config;
    config.mode = Mode::kTraining;
    config.num_tensor_cores = 1;
    for (int64_t t = 0; t < inputs_.tables; ++t) {
      TableConfig table;
      table.name = StrCat("table", t);
      table.vocabulary_size = inputs_.rows;
      table.dimension = inputs_.dim;
      table.optimizer = inputs_.optimizer;
      if (table.optimizer.params.index() == 0) {
        table.optimizer.params = SgdParams{};
      }
      config.tables.push_back(table);
      config.features.push_back(
          {StrCat("feature", t), static_cast<int>(t), {inputs_.batch}});
    }
    return config;
  }

  Status LoadTables() {
    const int64_t size = inputs_.rows * inputs_.dim;
    for (int64_t t = 0; t < inputs_.tables; ++t) {
      std::vector<std::vector<float>> variables(1, std::vector<float>(size));
      inputs_.Fill(t, variables[0].data());
      for (const SlotSpec& slot : engine_->optimizer(t)->slots()) {
        variables.emplace_back(size, slot.initial_value);
      }
      std::vector<const float*> pointers;
      for (const auto& variable : variables) {
        pointers.push_back(variable.data());
      }
      TF_EMBED_RETURN_IF_ERROR(
          engine_->Load(t, {}, pointers, inputs_.rows, inputs_.dim, pool_));
    }
    return OkStatus();
  }

  void AddBatch(const BatchInput& input) {
    Batch& batch = batches_.emplace_back();
    batch.sizes.resize(inputs_.tables);
    for (int64_t t = 0; t < inputs_.tables; ++t) {
      const Span<const int64_t> ids = inputs_.ids(input, t);
      const Span<const float> weights = inputs_.weights(input, t);
      // Without splits, an input is dense: one id a sample.
      batch.splits.push_back(inputs_.one_id ? std::vector<int64_t>()
                                            : inputs_.splits(input, t));
      batch.sizes[t] = {static_cast<int64_t>(batch.splits[t].size()),
                        static_cast<int64_t>(ids.size())};
      const int64_t* const sizes = batch.sizes[t].data();
      EnqueueInput& view = batch.inputs.emplace_back();
      view.indices_or_splits = {ArrayView::Type::kInt64, batch.splits[t].data(),
                                Span<const int64_t>(sizes, 1)};
      view.ids = {ArrayView::Type::kInt64, ids.data(),
                  Span<const int64_t>(sizes + 1, 1)};
      view.weights = {ArrayView::Type::kFloat32, weights.data(),
                      weights.empty() ? Span<const int64_t>(&kNoWeights, 1)
                                      : view.ids.shape};
    }
  }

  Status LookUp(int b, Mode mode) {
    EnqueueRequest request;
    request.inputs = batches_[b].inputs;
    request.combiners = combiners_;
    TF_EMBED_RETURN_IF_ERROR(engine_->Enqueue(0, mode, request));
    // The batch is there, so the callback runs before ReceiveAsync returns.
    StatusOr<ReceivedBatches> received = Internal("the batch did not arrive");
    engine_->ReceiveAsync({}, std::nullopt,
                          [&received](StatusOr<ReceivedBatches> batches) {
                            received = std::move(batches);
                          });
    if (!received.ok()) return received.status();
    return engine_->Lookup(*received, output_pointers_, pool_);
  }

  static constexpr int64_t kNoWeights = 0;

  const Inputs& inputs_;
  ThreadPool pool_;
  std::shared_ptr<Engine> engine_;
  std::vector<Combiner> combiners_;
  std::vector<float> outputs_;
  std::vector<float*> output_pointers_;
  std::vector<const float*> gradient_pointers_;
  std::vector<Batch> batches_;
};

}  // namespace

StatusOr<std::unique_ptr<System>> MakeEngineSystem(const Inputs& inputs) {
  auto system = std::make_unique<EngineSystem>(inputs);
  TF_EMBED_RETURN_IF_ERROR(system->Init());
  return std::unique_ptr<System>(std::move(system));
}

}  // namespace tf_embed
