#include "tf_embed/engine/batch.h"

#include <new>
#include <utility>
#include <vector>

#include "tf_embed/engine/arbitrary_input.h"
#include "tf_embed/engine/combine.h"
#include "tf_embed/engine/enqueue_input.h"
#include "tf_embed/engine/group_by_position.h"
#include "tf_embed/engine/table_input.h"

namespace tf_embed {
namespace {

// An input of a tensor form says which table it belongs to; one of the other
// forms belongs to the feature, or the table, of its index.
bool IsTensorForm(EnqueueForm form) {
  return form == EnqueueForm::kSparseTensor || form == EnqueueForm::kRagged;
}

// Hands out the combiner of an input. The op's list is per table or per input;
// where both have the same number, it is per table, as the op's documentation
// says.
class Combiners {
 public:
  static StatusOr<Combiners> Create(const EngineConfig& config,
                                    const EnqueueRequest& request) {
    const size_t given = request.combiners.size();
    const size_t tables = config.tables.size();
    const size_t inputs = request.inputs.size();
    if (given != 0 && given != tables && given != inputs) {
      return InvalidArgument("Invalid length of combiners. Have ", given,
                             " but expected 0, ", tables, " (tables) or ",
                             inputs, " (inputs).");
    }
    return Combiners(request.combiners, given == tables);
  }

  Combiner Of(size_t input, int table) const {
    if (list_.empty()) return Combiner::kSum;
    return list_[per_table_ ? static_cast<size_t>(table) : input];
  }

 private:
  Combiners(Span<const Combiner> list, bool per_table)
      : list_(list), per_table_(per_table) {}

  Span<const Combiner> list_;
  bool per_table_;
};

// Length 0 or one per input.
Status CheckLength(const char* name, size_t size, size_t num_inputs,
                   bool optional) {
  if (size == num_inputs || (optional && size == 0)) return OkStatus();
  return InvalidArgument("Invalid length of ", name, ". Have ", size,
                         " but expected ", optional ? "0 or " : "", num_inputs,
                         " (inputs).");
}

Status CheckAttributes(const EngineConfig& config,
                       const EnqueueRequest& request) {
  const size_t inputs = request.inputs.size();
  if (IsTensorForm(request.form)) {
    TF_EMBED_RETURN_IF_ERROR(CheckLength("table_ids", request.table_ids.size(),
                                         inputs, /*optional=*/false));
    TF_EMBED_RETURN_IF_ERROR(CheckLength("max_sequence_lengths",
                                         request.max_sequence_lengths.size(),
                                         inputs, /*optional=*/true));
    TF_EMBED_RETURN_IF_ERROR(CheckLength("num_features",
                                         request.num_features.size(), inputs,
                                         /*optional=*/true));
  } else if (request.form == EnqueueForm::kArbitrary) {
    if (inputs != config.features.size()) {
      return InvalidArgument("Expected ", config.features.size(),
                             " inputs, one per feature, but got ", inputs, ".");
    }
  } else if (inputs != config.tables.size()) {
    return InvalidArgument("Expected ", config.tables.size(),
                           " inputs, one per table, but got ", inputs, ".");
  }
  if (config.feature_dialect && request.form != EnqueueForm::kArbitrary) {
    return InvalidArgument(
        "This enqueue op fills whole tables, but the TPU embedding "
        "configuration has feature descriptors; use "
        "EnqueueTPUEmbeddingArbitraryTensorBatch.");
  }
  return OkStatus();
}

TimeCounter* CounterOf(Span<TimeCounter> table_ns, int64_t table) {
  return table_ns.empty() ? nullptr : &table_ns[table];
}

Status BuildFromFeatures(const EngineConfig& config,
                         const EnqueueRequest& request,
                         const Combiners& combiners,
                         const BatchOptions& options, Batch& batch,
                         Span<TimeCounter> table_ns) {
  WorkClock clock;
  for (size_t f = 0; f < config.features.size(); ++f) {
    const int table = config.features[f].table_id;
    clock.Charge(CounterOf(table_ns, table));
    const InputContext context{
        config, request.inputs[f],   f,
        table,  static_cast<int>(f), options.prune_negative_ids};
    FeatureBatch& feature = batch.features[f];
    bool combines = true;
    TF_EMBED_RETURN_IF_ERROR(BuildArbitraryInput(
        context, feature, &feature.negative_ids_pruned, &combines));
    const Combiner combiner =
        combines ? combiners.Of(f, table) : Combiner::kSum;
    ApplyCombiners({&combiner, 1}, feature);
  }
  return OkStatus();
}

// The slots of an input of a tensor form, from the op's attributes.
StatusOr<Slots> SlotsOf(const EnqueueRequest& request,
                        const InputContext& context, int64_t first) {
  const size_t i = context.index;
  const int64_t length = request.max_sequence_lengths.empty()
                             ? 0
                             : request.max_sequence_lengths[i];
  const int64_t samples =
      request.num_features.empty() ? 1 : request.num_features[i];
  if (length < 0) {
    return InvalidArgument(context.Label(), ": max_sequence_length ", length,
                           " is negative.");
  }
  if (samples < 1) {
    return InvalidArgument(context.Label(), ": num_features ", samples,
                           " is less than 1.");
  }
  if (length > 0 && samples > 1) {
    return InvalidArgument(context.Label(), ": has both max_sequence_length ",
                           length, " and num_features ", samples,
                           "; one of them must be left out.");
  }
  const int64_t width = length > 0 ? length : samples;
  if (width > context.table().num_features - first) {
    return InvalidArgument(context.Label(), ": takes ", width,
                           " features of its table, which has only ",
                           context.table().num_features - first, " of ",
                           context.table().num_features, " left.");
  }
  return Slots{first, width, length > 0};
}

Status BuildFromTables(const EngineConfig& config,
                       const EnqueueRequest& request,
                       const Combiners& combiners, const BatchOptions& options,
                       Batch& batch, Span<TimeCounter> table_ns) {
  WorkClock clock;
  const size_t num_tables = config.tables.size();
  std::vector<std::vector<PlacedIds>> parts(num_tables);
  std::vector<std::vector<Combiner>> slot_combiners(num_tables);
  for (size_t i = 0; i < request.inputs.size(); ++i) {
    const int64_t table = IsTensorForm(request.form) ? request.table_ids[i] : i;
    if (table < 0 || table >= static_cast<int64_t>(num_tables)) {
      return InvalidArgument("input ", i, ": table_id ", table,
                             " is outside [0, ", num_tables, ").");
    }
    clock.Charge(CounterOf(table_ns, table));
    const InputContext context{
        config,         request.inputs[i],         i, static_cast<int>(table),
        /*feature=*/-1, options.prune_negative_ids};
    // The other forms have all samples of the table in one input.
    Slots slots{0, context.table().num_features, false};
    if (IsTensorForm(request.form)) {
      TF_EMBED_ASSIGN_OR_RETURN(
          slots, SlotsOf(request, context, slot_combiners[table].size()));
    }
    int64_t num_negative = 0;
    PlacedIds placed;
    TF_EMBED_RETURN_IF_ERROR(
        PlaceTableInput(request.form, context, slots, placed, &num_negative));
    parts[table].push_back(std::move(placed));
    slot_combiners[table].insert(
        slot_combiners[table].end(),
        IsTensorForm(request.form) ? slots.width : 1,
        slots.is_sequence ? Combiner::kSum : combiners.Of(i, table));
    batch.features[table].negative_ids_pruned += num_negative;
  }
  for (size_t t = 0; t < num_tables; ++t) {
    clock.Charge(CounterOf(table_ns, t));
    const int64_t taken = slot_combiners[t].size();
    if (IsTensorForm(request.form) && taken != config.tables[t].num_features) {
      return InvalidArgument("The inputs of table '", config.tables[t].name,
                             "' take ", taken, " of its ",
                             config.tables[t].num_features, " features.");
    }
    batch.features[t].num_positions = config.features[t].num_positions();
    GroupByPosition(parts[t], batch.features[t]);
    ApplyCombiners(slot_combiners[t], batch.features[t]);
  }
  return OkStatus();
}

Status Build(const EngineConfig& config, const EnqueueRequest& request,
             const BatchOptions& options, Batch& batch,
             Span<TimeCounter> table_ns) {
  TF_EMBED_RETURN_IF_ERROR(CheckAttributes(config, request));
  TF_EMBED_ASSIGN_OR_RETURN(const Combiners combiners,
                            Combiners::Create(config, request));
  // In the table dialect, a feature of the config is a table.
  batch.features.resize(config.features.size());
  for (FeatureBatch& feature : batch.features) feature.Clear();
  if (request.form == EnqueueForm::kArbitrary) {
    return BuildFromFeatures(config, request, combiners, options, batch,
                             table_ns);
  }
  return BuildFromTables(config, request, combiners, options, batch, table_ns);
}

}  // namespace

Status BuildBatch(const EngineConfig& config, const EnqueueRequest& request,
                  Mode mode, const BatchOptions& options, Batch& batch,
                  Span<TimeCounter> table_ns) {
  batch.mode = mode == Mode::kUnspecified ? config.mode : mode;
  try {
    return Build(config, request, options, batch, table_ns);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("Not enough memory for the ids of ",
                             request.inputs.size(), " inputs.");
  }
}

}  // namespace tf_embed
