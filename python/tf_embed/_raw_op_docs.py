"""What the docstrings of tf_embed.raw_ops say, one table for all ops.

Shapes: B samples per core and step, N inputs, T tables, F features, V rows of
a table, D its dimension.
"""

# Optimizers that have Load and Retrieve ops of their own, with the state
# variables that these ops carry after the parameters.
OPTIMIZER_SLOTS: dict[str, tuple[str, ...]] = {
    "ADAM": ("momenta", "velocities"),
    "Adadelta": ("accumulators", "updates"),
    "Adagrad": ("accumulators",),
    "AdagradMomentum": ("accumulators", "momenta"),
    "CenteredRMSProp": ("ms", "mom", "mg"),
    "FTRL": ("accumulators", "linears"),
    "FrequencyEstimator": ("last_hit_step",),
    "MDLAdagradLight": ("accumulators", "weights", "benefits"),
    "Momentum": ("momenta",),
    "ProximalAdagrad": ("accumulators",),
    "ProximalYogi": ("v", "m"),
    "RMSProp": ("ms", "mom"),
    "StochasticGradientDescent": (),
}

# Raised by any op that needs the engine.
_NOT_CONFIGURED = "FailedPreconditionError: the engine is not configured."
_CONFIG_ERROR = (
    "ValueError: `config` does not parse, or a feature's table_id names no table."
)
_COUNT_ERROR = (
    "ValueError: the number of tensors or learning rates is not what `config` asks for."
)
_BAD_BATCH = (
    "InvalidArgumentError: a length, coordinate, id, combiner, mode_override or"
    " device_ordinal is out of its range; nothing is enqueued."
)
_BAD_GRADIENTS = (
    "InvalidArgumentError: `config` differs from the engine's, or a gradient has"
    " another shape than its activation."
)
_NO_BATCH = (
    "FailedPreconditionError: the engine is not configured, or no training batch"
    " waits for its gradients."
)
_STOPPED = "AbortedError: the engine was shut down or configured anew during the wait."
_TIMEOUT = (
    "DeadlineExceededError: no batch came within the time given to"
    " `tf_embed.set_recv_timeout`."
)
_BAD_TABLE = (
    "InvalidArgumentError: not exactly one of table_id and table_name is given, the"
    " table is unknown or has another optimizer, shard_id is outside"
    " [0, num_shards), or a shape is wrong; the table is unchanged."
)

_ENQUEUE_RAISES = (_NOT_CONFIGURED, _BAD_BATCH)
_RECV_RAISES = (_CONFIG_ERROR, _COUNT_ERROR, _NOT_CONFIGURED, _STOPPED, _TIMEOUT)
_SEND_RAISES = (_CONFIG_ERROR, _COUNT_ERROR, _NO_BATCH, _BAD_GRADIENTS)
_CONFIGURE_RAISES = (
    _CONFIG_ERROR,
    "InvalidArgumentError: a field of the configuration is missing or wrong.",
    "ResourceExhaustedError: the tables do not fit into memory.",
)

# op: (summary, returns, raises)
OPS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # Configuration.
    "ConfigureTPUEmbedding": (
        "Builds the embedding engine of this process, in place of an earlier one.",
        "The op; None in eager mode.",
        _CONFIGURE_RAISES,
    ),
    "IsTPUEmbeddingInitialized": (
        "Whether the engine is configured, with `config` where that is not empty.",
        "A bool tensor, [].",
        (_CONFIG_ERROR,),
    ),
    "ExecuteTPUEmbeddingPartitioner": (
        "First link of the configuration chain: decides where rows live.",
        "common_config: a string tensor, [].",
        _CONFIGURE_RAISES,
    ),
    "ConfigureTPUEmbeddingMemory": (
        "Second link of the configuration chain, one per host.",
        "memory_config: a string tensor, [].",
        (),
    ),
    "CollateTPUEmbeddingMemory": (
        "Third link of the configuration chain: joins the hosts' memory.",
        "merged_memory_config: a string tensor, [].",
        (),
    ),
    "ConfigureTPUEmbeddingHost": (
        "Fourth link of the configuration chain, one per host.",
        "network_config: a string tensor, [].",
        _CONFIGURE_RAISES,
    ),
    "ConnectTPUEmbeddingHosts": (
        "Fifth link of the configuration chain, one per host.",
        "The op; None in eager mode.",
        (),
    ),
    "FinalizeTPUEmbedding": (
        "Last link of the configuration chain: builds the engine.",
        "The op; None in eager mode.",
        _CONFIGURE_RAISES[1:],
    ),
    "FinalizeTPUEmbeddingV2": (
        "Last link of the configuration chain: builds the engine.",
        "(embedding_partitions, hbm_buffers_config): string tensors, [].",
        _CONFIGURE_RAISES[1:],
    ),
    "ConfigureDistributedTPU": (
        "Starts the TPU system, and the engine where a configuration is given.",
        "topology: a string tensor, [].",
        _CONFIGURE_RAISES,
    ),
    "ShutdownDistributedTPU": (
        "Stops the TPU system and drops the engine with its tables.",
        "The op; None in eager mode.",
        (),
    ),
    # Ids.
    "EnqueueTPUEmbeddingIntegerBatch": (
        "Enqueues one id per sample of each table.",
        "The op; None in eager mode.",
        _ENQUEUE_RAISES,
    ),
    "EnqueueTPUEmbeddingBatch": (
        "Enqueues serialized samples; their format is not public.",
        "The op; None in eager mode.",
        ("UnimplementedError: always.",),
    ),
    "EnqueueTPUEmbeddingSparseBatch": (
        "Enqueues ids with the sample that each belongs to, per table.",
        "The op; None in eager mode.",
        _ENQUEUE_RAISES,
    ),
    "EnqueueTPUEmbeddingSparseTensorBatch": (
        "Enqueues sparse ids, per feature.",
        "The op; None in eager mode.",
        _ENQUEUE_RAISES,
    ),
    "EnqueueTPUEmbeddingRaggedTensorBatch": (
        "Enqueues ragged ids, per feature.",
        "The op; None in eager mode.",
        _ENQUEUE_RAISES,
    ),
    "EnqueueTPUEmbeddingArbitraryTensorBatch": (
        "Enqueues dense, sparse or ragged ids, per feature descriptor.",
        "The op; None in eager mode.",
        _ENQUEUE_RAISES,
    ),
    "DynamicEnqueueTPUEmbeddingArbitraryTensorBatch": (
        "Enqueues dense, sparse or ragged ids to a core that a tensor names.",
        "The op; None in eager mode.",
        _ENQUEUE_RAISES,
    ),
    "DynamicEnqueueTPUEmbeddingRaggedTensorBatch": (
        "Enqueues ragged ids to a core that a tensor names.",
        "The op; None in eager mode.",
        _ENQUEUE_RAISES,
    ),
    # Activations and gradients.
    "RecvTPUEmbeddingActivations": (
        "Takes the oldest batch of the core and returns its activations.",
        "A list of float32 tensors: per feature [*input_shape, D], or without"
        " feature descriptors per table [B * num_features, D].",
        _RECV_RAISES,
    ),
    "SendTPUEmbeddingGradients": (
        "Updates the tables with the gradients of the oldest received batch.",
        "The op; None in eager mode.",
        _SEND_RAISES,
    ),
    "TPUEmbeddingActivations": (
        "Returns `sliced_activations`; its gradient is kept in a graph collection.",
        "A float32 tensor shaped like `sliced_activations`.",
        ("InvalidArgumentError: table_id or lookup_id is negative.",),
    ),
    "XlaRecvTPUEmbeddingDeduplicationData": (
        "Takes the oldest batch of the core.",
        "A variant tensor, [], that stands for the batch.",
        (_CONFIG_ERROR, _NOT_CONFIGURED, _STOPPED, _TIMEOUT),
    ),
    "XlaRecvTPUEmbeddingActivations": (
        "Returns the activations of a batch.",
        "A list of float32 tensors, as of RecvTPUEmbeddingActivations.",
        _RECV_RAISES[:3],
    ),
    "XlaSendTPUEmbeddingGradients": (
        "Updates the tables with the gradients of a batch.",
        "The op; None in eager mode.",
        _SEND_RAISES,
    ),
    "ComputeDedupDataSize": (
        "Returns the number of elements in the deduplication data of a batch.",
        "num_elements: an int32 tensor, [].",
        (_CONFIG_ERROR,),
    ),
    "ComputeDedupDataTupleMask": (
        "Returns the (type, span) rows of the deduplication data of a batch.",
        "output_shape: an int32 tensor, [?, 2]; type 0 is integer, 1 float.",
        (_CONFIG_ERROR,),
    ),
    "SplitDedupData": (
        "Splits deduplication data into its integers and its floats.",
        "(integer_tensor, float_tensor): tensors of rank 1.",
        ("ValueError: `tuple_mask` does not parse.",),
    ),
    "MergeDedupData": (
        "Inverse of SplitDedupData.",
        "A variant tensor, [].",
        ("ValueError: `tuple_mask` does not parse.",),
    ),
    # Parameters.
    "LoadAllTPUEmbeddingParameters": (
        "Loads parameters and state variables of all tables.",
        "The op; None in eager mode.",
        (_CONFIG_ERROR, _COUNT_ERROR, _NOT_CONFIGURED, _BAD_TABLE),
    ),
    "RetrieveAllTPUEmbeddingParameters": (
        "Returns parameters and state variables of all tables.",
        "(parameters, auxiliary1, ..., auxiliary7): lists of T float32 tensors,"
        " [rows of the shard, D], or [0, 0] where a table has no such variable.",
        (_CONFIG_ERROR, _COUNT_ERROR, _NOT_CONFIGURED),
    ),
}
for _op in [
    "XlaRecvTPUEmbeddingDeduplicationData",
    "XlaRecvTPUEmbeddingActivations",
    "XlaSendTPUEmbeddingGradients",
    "ComputeDedupDataSize",
    "ComputeDedupDataTupleMask",
]:
    OPS[_op + "V2"] = OPS[_op]
for _optimizer, _slots in OPTIMIZER_SLOTS.items():
    _variables = ", ".join(("parameters", *_slots))
    OPS[f"LoadTPUEmbedding{_optimizer}Parameters"] = (
        f"Loads a shard of a table that {_optimizer} trains.",
        "The op; None in eager mode.",
        (_CONFIG_ERROR, _NOT_CONFIGURED, _BAD_TABLE),
    )
    OPS[f"RetrieveTPUEmbedding{_optimizer}Parameters"] = (
        f"Returns a shard of a table that {_optimizer} trains.",
        (f"({_variables}): " if _slots else "parameters: ")
        + f"float32 tensor{'s' if _slots else ''}, [rows of the shard, D].",
        (_CONFIG_ERROR, _NOT_CONFIGURED, _BAD_TABLE),
    )

_SLOT = "float32, [rows of the shard, D]."
_PER_TABLE = "T float32 tensors, [rows of the shard, D] or, where unused, [0, 0]."

# argument: what it is; "op.argument" where one op differs.
ARGUMENTS: dict[str, str] = {
    "aggregation_weights": "N float32 or float64 tensors, shaped like the ids, or"
    " empty for weights of 1.",
    "batch": "T int32 tensors, [B * num_features of the table].",
    "EnqueueTPUEmbeddingBatch.batch": "N string tensors.",
    "combiners": "list of 'sum', 'mean' or 'sqrtn', one per table. Empty: 'sum'.",
    "compilation_failure_closes_chips": "bool, no effect on CPU.",
    "config": "a TPUEmbeddingConfiguration, serialized or not.",
    "common_config": "string, []: result of ExecuteTPUEmbeddingPartitioner.",
    "deduplication_data": "variant, []: the batch, from"
    " XlaRecvTPUEmbeddingDeduplicationData.",
    "device_ordinal": "int, the core; -1: the only core.",
    "embedding_config": "reserved, must be empty.",
    "embedding_indices": "N int32 or int64 tensors: the ids, each in [0, V).",
    "embedding_partitions": "bytes, result of FinalizeTPUEmbeddingV2.",
    "embedding_variable": "float32: the variable through which gradients are asked"
    " for; its value is not read.",
    "enable_whole_mesh_compilations": "bool, no effect on CPU.",
    "float_tensor": "half, bfloat16 or float32 tensor of rank 1.",
    "float_type": "tf.DType of the floats.",
    "gradients": "float32 tensors, shaped like the activations, in their order.",
    "hbm_buffers_config": "bytes, result of FinalizeTPUEmbeddingV2.",
    "input": "variant, []: deduplication data.",
    "inputs": "float32 tensors, shaped like the activations, in their order.",
    "integer_tensor": "int32, int64, uint32 or uint64 tensor of rank 1.",
    "integer_type": "tf.DType of the integers.",
    "is_global_init": "bool, no effect on CPU.",
    "learning_rates": "float32 tensors, []: one per tag of `config`, in order.",
    "lookup_id": "int >= 0, position of the activation among those of its table.",
    "max_sequence_lengths": "list of int, one per input; > 0: a sequence feature,"
    " one activation per position. Empty: 0.",
    "memory_config": "string, []: result of ConfigureTPUEmbeddingMemory, collated.",
    "memory_configs": "N string tensors, []: one per host.",
    "mode_override": "string, []: 'unspecified' (the mode of the configuration),"
    " 'train', 'training', 'inference' or 'backward_pass_only'.",
    "network_configs": "N string tensors, []: one per host.",
    "num_features": "list of int, one per input: activations per sample. Empty: 1.",
    "num_outputs": "int, the number of features, or of tables where the"
    " configuration has no feature descriptors.",
    "num_shards": "int >= 1, parts into which the table is cut.",
    "num_tables": "int, the number of outputs, as num_outputs of"
    " RecvTPUEmbeddingActivations.",
    "NumTables": "int, the number of tables.",
    "parameters": _SLOT,
    "LoadAllTPUEmbeddingParameters.parameters": _PER_TABLE,
    "sample_indices": "N int32 or int64 tensors: the sample of each id.",
    "EnqueueTPUEmbeddingSparseTensorBatch.sample_indices": "N int32 or int64"
    " tensors: the sample of each id, [ids] or, with its position, [ids, 2].",
    "sample_indices_or_row_splits": "N int32 or int64 tensors: [ids, rank + 1]"
    " coordinates of sparse ids, [rows + 1] splits of ragged ids, or [0] for"
    " dense ids.",
    "sample_splits": "N int32 or int64 tensors, [samples + 1]: row splits.",
    "shard_id": "int in [0, num_shards).",
    "sliced_activations": "float32, any shape.",
    "table_id": "int, position of the table. -1: table_name says which.",
    "TPUEmbeddingActivations.table_id": "int >= 0, position of the table.",
    "table_ids": "list of int, the table of each input.",
    "table_name": "str, name of the table. Empty: table_id says which.",
    "tpu_cancellation_closes_chips": "int, no effect on CPU.",
    "tpu_embedding_config": "a TPUEmbeddingConfiguration, serialized or not."
    " Empty: the engine is not configured.",
    "tpu_topology": "bytes, no effect on CPU.",
    "tuple_mask": "bytes, a serialized TensorProto of [?, 2] int32 (type, span), all"
    " of it in int_val, where TensorFlow's shape function reads it.",
}
ARGUMENTS.update((slot, _SLOT) for slots in OPTIMIZER_SLOTS.values() for slot in slots)
ARGUMENTS.update((f"auxiliary{i}", _PER_TABLE) for i in range(1, 8))

EXAMPLES: dict[str, str] = {
    "TPUEmbeddingActivations": """\
>>> import tf_embed
>>> tf_embed.raw_ops.TPUEmbeddingActivations(
...     embedding_variable=[0.0],
...     sliced_activations=[[1.0, 2.0]],
...     table_id=0,
...     lookup_id=0,
... ).numpy()
array([[1., 2.]], dtype=float32)
""",
}

NOTES: dict[str, str] = {
    "RecvTPUEmbeddingActivations": "Waits for a batch without holding a thread."
    " In a tf.function TensorFlow puts no order between several enqueues: enqueue"
    " once per core and step, or add control dependencies.",
    "SendTPUEmbeddingGradients": "With several cores the tables are updated once"
    " all of them have sent. Ids that occur more than once in a step are updated"
    " once, with the sum of their gradients.",
}
