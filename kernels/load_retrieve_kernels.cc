// Load<Optimizer> and Retrieve<Optimizer> for one table, LoadAll and
// RetrieveAll for all of them.

#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "kernels/config_attr.h"
#include "kernels/kernel_registration.h"
#include "kernels/op_attrs.h"
#include "kernels/status_bridge.h"
#include "kernels/tf_executor.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tf_embed/engine/engine.h"
#include "tf_embed/engine/shard_layout.h"
#include "tf_embed/optimizers/optimizer.h"
#include "tsl/profiler/lib/traceme.h"
#include "tsl/profiler/lib/traceme_encode.h"

namespace tf_embed {
namespace {

using ::tensorflow::OpKernel;
using ::tensorflow::OpKernelConstruction;
using ::tensorflow::OpKernelContext;
using ::tensorflow::Tensor;
using ::tensorflow::TensorShape;
using ::tsl::profiler::TraceMe;
using ::tsl::profiler::TraceMeEncode;

// State variables of LoadAll and RetrieveAll: the parameters and seven
// auxiliaries, whatever the optimizer has.
constexpr int kNumStateVariables = 8;

// Stands for "no gradient since the last update": the smallest denormal.
constexpr float kUntouchedGradient = std::numeric_limits<float>::denorm_min();

// The optimizers that have Load and Retrieve ops, as the ops spell them.
constexpr const char* kOptimizers[] = {
    "ADAM",
    "Adadelta",
    "Adagrad",
    "AdagradMomentum",
    "CenteredRMSProp",
    "FTRL",
    "FrequencyEstimator",
    "MDLAdagradLight",
    "Momentum",
    "ProximalAdagrad",
    "ProximalYogi",
    "RMSProp",
    "StochasticGradientDescent",
};
constexpr char kLoadPrefix[] = "LoadTPUEmbedding";
constexpr char kRetrievePrefix[] = "RetrieveTPUEmbedding";
constexpr char kSuffix[] = "Parameters";

// The optimizer in the name of a Load or Retrieve op.
std::string OptimizerInOpName(const std::string& op, const char* prefix) {
  const size_t begin = std::strlen(prefix);
  return op.substr(begin, op.size() - begin - std::strlen(kSuffix));
}

// The attributes num_shards and shard_id.
absl::Status ReadShard(OpKernelConstruction* ctx, Shard* shard) {
  absl::Status status = ctx->GetAttr("num_shards", &shard->count);
  if (status.ok()) status = ctx->GetAttr("shard_id", &shard->id);
  if (!status.ok()) return status;
  if (shard->count < 1) {
    return ToAbsl(InvalidArgument("num_shards must be >= 1. Currently set to: ",
                                  shard->count));
  }
  if (shard->id < 0 || shard->id >= shard->count) {
    return ToAbsl(InvalidArgument("The value of shard_id must be >= 0 and < ",
                                  shard->count,
                                  ". Currently set to: ", shard->id));
  }
  return absl::OkStatus();
}

TensorShape ShardShape(const EngineConfig& config, int t, Shard shard) {
  const TableConfig& table = config.tables[t];
  const ShardRows rows = RowsOfShard(
      config.sharding_strategy, table.vocabulary_size, shard.id, shard.count);
  return TensorShape({rows.count, table.dimension});
}

Status CheckShape(const EngineConfig& config, int t, Shard shard,
                  const char* variable, const Tensor& tensor) {
  const TensorShape expected = ShardShape(config, t, shard);
  if (tensor.shape() == expected) return OkStatus();
  return InvalidArgument("Table '", config.tables[t].name, "': ", variable,
                         " of shard ", shard.id, " of ", shard.count,
                         " has shape ", tensor.shape().DebugString(),
                         "; expected ", expected.DebugString());
}

// Name of state variable i, which is below 1 + slots.
const char* VariableName(const Optimizer& optimizer, int i) {
  return i == 0 ? "parameters" : optimizer.slots()[i - 1].name;
}

// Of a table. One for inference may have none; it is loaded and retrieved like
// that which has no slot variables.
StatusOr<std::unique_ptr<const Optimizer>> OptimizerOfTable(
    const TableConfig& table) {
  OptimizerConfig config = table.optimizer;
  if (std::holds_alternative<std::monostate>(config.params)) {
    config.params = SgdParams{};
  }
  return Optimizer::Create(config);
}

// A TPU host joins the ops of all tables by their names, so a config whose
// names do not tell tables apart is of no use to any of these ops.
Status CheckTableNames(const EngineConfig& config) {
  std::map<std::string, size_t> tables;
  for (size_t t = 0; t < config.tables.size(); ++t) {
    const std::string& name = config.tables[t].name;
    if (name.empty()) {
      return InvalidArgument("Table ", t, " has empty name string.");
    }
    const auto [first, is_new] = tables.emplace(name, t);
    if (!is_new) {
      return InvalidArgument("Tables ", first->second, " and ", t,
                             " have the same name '", name, "'.");
    }
  }
  return OkStatus();
}

// The attributes that Load and Retrieve ops of one table have in common.
class TableAttrs {
 public:
  absl::Status Read(OpKernelConstruction* ctx, const char* op_prefix) {
    op_ = ctx->def().op();
    optimizer_ = OptimizerInOpName(op_, op_prefix);
    absl::Status status = ReadOptionalConfig(ctx, &config_);
    if (status.ok()) status = ctx->GetAttr("table_id", &table_id_);
    if (status.ok()) status = ctx->GetAttr("table_name", &table_name_);
    if (status.ok()) status = ReadShard(ctx, &shard_);
    if (!status.ok()) return status;
    if ((table_id_ >= 0) == !table_name_.empty()) {
      return absl::InvalidArgumentError(
          "exactly one of table_id or table_name must be non-default");
    }
    return absl::OkStatus();
  }

  StatusOr<std::shared_ptr<Engine>> ActiveEngine() const {
    return config_->ActiveEngine();
  }

  StatusOr<int> TableOf(const EngineConfig& config) const {
    TF_EMBED_RETURN_IF_ERROR(CheckTableNames(config));
    const int num_tables = static_cast<int>(config.tables.size());
    if (table_name_.empty()) {
      if (table_id_ < num_tables) return table_id_;
      return InvalidArgument(op_, ": table_id ", table_id_, " is outside [0, ",
                             num_tables,
                             "), the tables of the TPU embedding "
                             "configuration");
    }
    for (int t = 0; t < num_tables; ++t) {
      if (config.tables[t].name == table_name_) return t;
    }
    std::string names;
    for (const TableConfig& table : config.tables) {
      names += StrCat(names.empty() ? "'" : ", '", table.name, "'");
    }
    return InvalidArgument(op_, ": no table is named '", table_name_,
                           "'. The TPU embedding configuration has ", names);
  }

  // Of the table, which must be the one in the op's name.
  StatusOr<std::unique_ptr<const Optimizer>> OptimizerOf(
      const EngineConfig& config, int t) const {
    TF_EMBED_ASSIGN_OR_RETURN(std::unique_ptr<const Optimizer> optimizer,
                              OptimizerOfTable(config.tables[t]));
    if (optimizer->name() == optimizer_) return optimizer;
    return InvalidArgument(op_, ": table '", config.tables[t].name,
                           "' has the optimizer ", optimizer->name(),
                           ", whose state variables are others than those of ",
                           optimizer_);
  }

  Shard shard() const { return shard_; }

 private:
  std::string op_;
  std::string optimizer_;
  std::unique_ptr<ConfigAttr> config_;
  int table_id_ = -1;
  std::string table_name_;
  Shard shard_;
};

class LoadOp : public OpKernel {
 public:
  explicit LoadOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, attrs_.Read(ctx, kLoadPrefix));
  }

  void Compute(OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, ToAbsl(Load(ctx)));
  }

 private:
  Status Load(OpKernelContext* ctx) {
    TF_EMBED_ASSIGN_OR_RETURN(const std::shared_ptr<Engine> engine,
                              attrs_.ActiveEngine());
    const EngineConfig& config = engine->config();
    TF_EMBED_ASSIGN_OR_RETURN(const int t, attrs_.TableOf(config));
    TF_EMBED_ASSIGN_OR_RETURN(const auto optimizer,
                              attrs_.OptimizerOf(config, t));
    TraceMe trace([&] { return TraceMeEncode("TfEmbedLoad", {{"table", t}}); });
    std::vector<const float*> variables(ctx->num_inputs());
    for (int i = 0; i < ctx->num_inputs(); ++i) {
      TF_EMBED_RETURN_IF_ERROR(CheckShape(config, t, attrs_.shard(),
                                          VariableName(*optimizer, i),
                                          ctx->input(i)));
      variables[i] = ctx->input(i).flat<float>().data();
    }
    const TensorShape& shape = ctx->input(0).shape();
    TfExecutor executor(ctx);
    return engine->Load(t, attrs_.shard(), variables, shape.dim_size(0),
                        shape.dim_size(1), executor);
  }

  TableAttrs attrs_;
};

class RetrieveOp : public OpKernel {
 public:
  explicit RetrieveOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, attrs_.Read(ctx, kRetrievePrefix));
  }

  void Compute(OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, ToAbsl(Retrieve(ctx)));
  }

 private:
  Status Retrieve(OpKernelContext* ctx) {
    TF_EMBED_ASSIGN_OR_RETURN(const std::shared_ptr<Engine> engine,
                              attrs_.ActiveEngine());
    const EngineConfig& config = engine->config();
    TF_EMBED_ASSIGN_OR_RETURN(const int t, attrs_.TableOf(config));
    TF_EMBED_RETURN_IF_ERROR(attrs_.OptimizerOf(config, t).status());
    TraceMe trace(
        [&] { return TraceMeEncode("TfEmbedRetrieve", {{"table", t}}); });
    const TensorShape shape = ShardShape(config, t, attrs_.shard());
    std::vector<float*> variables(ctx->num_outputs());
    for (int i = 0; i < ctx->num_outputs(); ++i) {
      Tensor* output = nullptr;
      TF_EMBED_RETURN_IF_ERROR(
          FromAbsl(ctx->allocate_output(i, shape, &output)));
      variables[i] = output->flat<float>().data();
    }
    TfExecutor executor(ctx);
    return engine->Retrieve(t, attrs_.shard(), variables, executor);
  }

  TableAttrs attrs_;
};

// What a table has among the kNumStateVariables: first the parameters and the
// optimizer's slots, then, with gradient accumulation, the accumulated
// gradients, which are always those of a completed step here. The rest has
// zero elements.
struct StateVariables {
  std::unique_ptr<const Optimizer> optimizer;
  int num_stored = 0;
  bool has_gradient_accumulators = false;

  int num_used() const { return num_stored + has_gradient_accumulators; }
};

StatusOr<StateVariables> StateVariablesOf(const TableConfig& table) {
  StateVariables state;
  TF_EMBED_ASSIGN_OR_RETURN(state.optimizer, OptimizerOfTable(table));
  state.num_stored = 1 + static_cast<int>(state.optimizer->slots().size());
  state.has_gradient_accumulators = table.optimizer.gradient_accumulation;
  return state;
}

// The attributes that LoadAll and RetrieveAll have in common.
class AllTablesAttrs {
 public:
  absl::Status Read(OpKernelConstruction* ctx) {
    absl::Status status = ReadRequiredConfig(ctx, &config_);
    if (status.ok()) status = ctx->GetAttr("NumTables", &num_tables_);
    if (status.ok()) status = ReadShard(ctx, &shard_);
    if (!status.ok()) return status;
    return ToAbsl(Check());
  }

  StatusOr<std::shared_ptr<Engine>> ActiveEngine() const {
    return config_->ActiveEngine();
  }
  int num_tables() const { return num_tables_; }
  Shard shard() const { return shard_; }

  // Inputs and outputs are ordered by variable, then by table.
  int IndexOf(int variable, int t) const { return variable * num_tables_ + t; }

 private:
  Status Check() const {
    const EngineConfig& config = *config_->config();
    if (num_tables_ != config.tables.size()) {
      return InvalidArgument("NumTables is ", num_tables_,
                             " but the configuration has ",
                             config.tables.size(), " tables");
    }
    for (const TableConfig& table : config.tables) {
      if (shard_.id < table.vocabulary_size) continue;
      return InvalidArgument(
          "All embedding shards must be non-empty, shard ID: ", shard_.id,
          " is empty, vocabulary size: ", table.vocabulary_size,
          ", number of shards: ", shard_.count);
    }
    return OkStatus();
  }

  std::unique_ptr<ConfigAttr> config_;
  int num_tables_ = 0;
  Shard shard_;
};

class LoadAllOp : public OpKernel {
 public:
  explicit LoadAllOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, attrs_.Read(ctx));
  }

  void Compute(OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, ToAbsl(LoadAll(ctx)));
  }

 private:
  // The stored variables of a table, all inputs checked.
  StatusOr<std::vector<const float*>> VariablesOf(OpKernelContext* ctx,
                                                  const EngineConfig& config,
                                                  int t) const {
    TF_EMBED_ASSIGN_OR_RETURN(const StateVariables state,
                              StateVariablesOf(config.tables[t]));
    std::vector<const float*> variables(state.num_stored);
    for (int i = 0; i < kNumStateVariables; ++i) {
      const Tensor& tensor = ctx->input(attrs_.IndexOf(i, t));
      if (i >= state.num_used()) {
        if (tensor.dims() >= 1 && tensor.NumElements() == 0) continue;
        return InvalidArgument(
            "Table '", config.tables[t].name, "': auxiliary", i,
            " must have zero elements, because ", state.optimizer->name(),
            " has ", state.num_used() - 1, " auxiliary parameters; got shape ",
            tensor.shape().DebugString());
      }
      const bool stored = i < state.num_stored;
      TF_EMBED_RETURN_IF_ERROR(CheckShape(
          config, t, attrs_.shard(),
          stored ? VariableName(*state.optimizer, i) : "gradient_accumulators",
          tensor));
      if (stored) variables[i] = tensor.flat<float>().data();
    }
    return variables;
  }

  Status LoadAll(OpKernelContext* ctx) {
    TF_EMBED_ASSIGN_OR_RETURN(const std::shared_ptr<Engine> engine,
                              attrs_.ActiveEngine());
    TraceMe trace("TfEmbedLoadAll");
    const EngineConfig& config = engine->config();
    std::vector<std::vector<const float*>> tables(attrs_.num_tables());
    for (int t = 0; t < attrs_.num_tables(); ++t) {
      TF_EMBED_ASSIGN_OR_RETURN(tables[t], VariablesOf(ctx, config, t));
    }
    std::vector<LoadedTable> loaded;
    for (int t = 0; t < attrs_.num_tables(); ++t) {
      const TensorShape& shape = ctx->input(attrs_.IndexOf(0, t)).shape();
      loaded.push_back({t, tables[t], shape.dim_size(0), shape.dim_size(1)});
    }
    TfExecutor executor(ctx);
    return engine->LoadTables(attrs_.shard(), loaded, executor);
  }

  AllTablesAttrs attrs_;
};

class RetrieveAllOp : public OpKernel {
 public:
  explicit RetrieveAllOp(OpKernelConstruction* ctx) : OpKernel(ctx) {
    OP_REQUIRES_OK(ctx, attrs_.Read(ctx));
  }

  void Compute(OpKernelContext* ctx) override {
    OP_REQUIRES_OK(ctx, ToAbsl(RetrieveAll(ctx)));
  }

 private:
  Status RetrieveAll(OpKernelContext* ctx) {
    TF_EMBED_ASSIGN_OR_RETURN(const std::shared_ptr<Engine> engine,
                              attrs_.ActiveEngine());
    TraceMe trace("TfEmbedRetrieveAll");
    const EngineConfig& config = engine->config();
    std::vector<std::vector<float*>> tables(attrs_.num_tables());
    std::vector<RetrievedTable> retrieved;
    for (int t = 0; t < attrs_.num_tables(); ++t) {
      TF_EMBED_ASSIGN_OR_RETURN(const StateVariables state,
                                StateVariablesOf(config.tables[t]));
      const TensorShape shape = ShardShape(config, t, attrs_.shard());
      std::vector<float*>& variables = tables[t];
      variables.resize(state.num_stored);
      for (int i = 0; i < kNumStateVariables; ++i) {
        Tensor* output = nullptr;
        TF_EMBED_RETURN_IF_ERROR(FromAbsl(ctx->allocate_output(
            attrs_.IndexOf(i, t),
            i < state.num_used() ? shape : TensorShape({0, 0}), &output)));
        if (i < state.num_stored) {
          variables[i] = output->flat<float>().data();
        } else {
          output->flat<float>().setConstant(kUntouchedGradient);
        }
      }
      retrieved.push_back({t, variables});
    }
    TfExecutor executor(ctx);
    return engine->RetrieveTables(attrs_.shard(), retrieved, executor);
  }

  AllTablesAttrs attrs_;
};

std::vector<KernelEntry> AllEntries() {
  std::vector<KernelEntry> entries = {
      {"LoadAllTPUEmbeddingParameters", Create<LoadAllOp>},
      {"RetrieveAllTPUEmbeddingParameters", Create<RetrieveAllOp>},
  };
  for (const char* optimizer : kOptimizers) {
    entries.push_back(
        {StrCat(kLoadPrefix, optimizer, kSuffix), Create<LoadOp>});
    entries.push_back(
        {StrCat(kRetrievePrefix, optimizer, kSuffix), Create<RetrieveOp>});
  }
  return entries;
}

const KernelTable kernels(AllEntries());

}  // namespace
}  // namespace tf_embed
