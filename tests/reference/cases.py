"""Random configurations and inputs, reproducible from a seed."""

from typing import Any, NamedTuple

import numpy as np
from tensorflow.core.protobuf.tpu import (
    optimization_parameters_pb2,
    tpu_embedding_configuration_pb2,
)

from tests.reference.optimizers import OPTIMIZERS

Config = tpu_embedding_configuration_pb2.TPUEmbeddingConfiguration
Parameters = optimization_parameters_pb2.OptimizationParameters

# Field of an optimizer's parameters -> how it is drawn.
_HYPERPARAMETERS: dict[str, dict[str, Any]] = {
    "adagrad_momentum": {
        "momentum": (0, 0.9),
        "use_nesterov": bool,
        "exponent": [1.0, 2.0, 3.0],
        "beta2": [1.0, 0.9],
        "epsilon": (1e-3, 0.1),
    },
    "bounded_adagrad": {
        "update_accumulator_first": bool,
        "max_var_update": [0.0, 0.05],
        "max_accumulator": [0.0, 2.0],
    },
    "frequency_aware_adagrad": {
        "l1_regularization_strength": [0.0, 0.01],
        "l2_regularization_strength": [0.0, 0.02],
        "max_lr_multiplier": [0.0, 1.5],
        "probability_exponent": [0.5, 1.0],
        "accumulator_decay": [0.0, 0.9],
        "initial_accumulator_value": (0.05, 0.2),
    },
    "ftrl": {
        "l1": [0.0, 0.1],
        "l2": [0.0, 0.1],
        "lr_power": [-0.5, -1.0, -0.3, 0.0],
        "beta": [0.0, 0.5],
        "multiply_linear_by_lr": bool,
    },
    "adam": {
        "beta1": (0, 0.9),
        "beta2": (0, 0.99),
        "epsilon": (1e-3, 0.1),
        "use_non_lazy_adam": bool,
        "use_sum_inside_sqrt": bool,
    },
    "momentum": {"momentum": (0, 0.9), "use_nesterov": bool},
    "lion": {"beta1": (0, 0.9), "beta2": (0, 0.9), "use_non_lazy_lion": bool},
    "rms_prop": {"rho": (0, 0.9), "momentum": (0, 0.9), "epsilon": (1e-2, 0.1)},
    "centered_rms_prop": {
        "rho": (0, 0.9),
        "momentum": (0, 0.9),
        "epsilon": (1e-2, 0.1),
    },
    "adadelta": {"rho": (0, 0.9), "epsilon": (1e-2, 0.1)},
    "proximal_adagrad": {"l1": [0.0, 0.1], "l2": [0.0, 0.1]},
    "online_yogi": {"l1": [0.0, 0.1], "l2": [0.0, 0.1], "beta2": (0, 0.9)},
    "proximal_yogi": {
        "l1": [0.0, 0.1],
        "l2": [0.0, 0.1],
        "beta1": (0, 0.9),
        "beta2": (0, 0.9),
        "epsilon": (1e-2, 0.1),
    },
    "frequency_estimator": {
        "tau": (0.1, 0.9),
        "max_delta": (5.0, 20.0),
        "outlier_threshold": (1.5, 4.0),
    },
}


def _draw(rng: np.random.Generator, how: Any) -> Any:
    if how is bool:
        return bool(rng.integers(2))
    if isinstance(how, tuple):
        return float(np.float32(rng.uniform(*how)))
    return how[rng.integers(len(how))]


def random_optimizer(
    rng: np.random.Generator, name: str, first_tag: int
) -> tuple[Parameters, int]:
    """The parameters, and how many tags they use: first_tag and those after."""
    parameters = Parameters()
    message = getattr(parameters, name)
    message.SetInParent()
    for field, how in _HYPERPARAMETERS.get(name, {}).items():
        setattr(message, field, _draw(rng, how))
    tags = 0
    if rng.integers(2):
        parameters.learning_rate.dynamic.tag = first_tag
        tags = 1
    else:
        parameters.learning_rate.constant = _draw(rng, (0.01, 0.5))
    if name == "frequency_aware_adagrad":
        message.step_counter.tag = first_tag + tags
        tags += 1
    if name == "frequency_estimator":
        parameters.gradient_accumulation_status = int(rng.integers(3))
        return parameters, tags
    if rng.random() < 0.3:
        parameters.gradient_clipping_limits.lower.value = -0.5
        if rng.integers(2):
            parameters.gradient_clipping_limits.upper.value = 0.25
    if rng.random() < 0.3:
        parameters.clipping_limits.upper.value = 0.75
        if rng.integers(2):
            parameters.clipping_limits.lower.value = -0.75
    if rng.random() < 0.3:
        parameters.weight_decay_factor = 0.125
        parameters.multiply_weight_decay_factor_by_learning_rate = bool(rng.integers(2))
    if rng.random() < 0.2:
        quantization = parameters.simulated_quantization
        quantization.enabled = True
        quantization.num_buckets = int(rng.integers(2, 9))
        quantization.clipping_limits.lower.value = -0.5
        quantization.clipping_limits.upper.value = 1.0
    parameters.gradient_accumulation_status = int(rng.integers(3))
    return parameters, tags


def random_config(rng: np.random.Generator, feature_dialect: bool) -> Config:
    config = Config(mode=Config.TRAINING)
    num_tables = int(rng.integers(1, 4))
    names = list(OPTIMIZERS)
    tags = 0
    for t in range(num_tables):
        table = config.table_descriptor.add()
        table.name = f"table{t}"
        name = names[rng.integers(len(names))]
        table.vocabulary_size = int(rng.integers(1, 13))
        table.dimension = int(rng.choice([1, 2, 3, 4, 5, 8, 17, 33]))
        if name == "frequency_estimator":
            table.dimension = 1
        parameters, used = random_optimizer(rng, name, tags)
        tags += used
        table.optimization_parameters.CopyFrom(parameters)
        if not feature_dialect:
            table.num_features = int(rng.integers(1, 4))
    if feature_dialect:
        # Every table has a feature; the rest go anywhere.
        owners = list(range(num_tables))
        owners += [int(t) for t in rng.integers(num_tables, size=rng.integers(3))]
        rng.shuffle(owners)
        for f, t in enumerate(owners):
            rank = int(rng.choice([1, 1, 2, 3]))
            shape = [int(s) for s in rng.integers(1, 4, size=rank)]
            config.feature_descriptor.add(
                name=f"feature{f}", table_id=t, input_shape=shape
            )
    else:
        config.batch_size_per_tensor_core = int(rng.integers(1, 5))
    config.num_tensor_cores = int(rng.choice([1, 1, 1, 2, 3, 8]))
    config.num_hosts = int(rng.integers(1, 4))
    config.sharding_strategy = int(rng.integers(2))
    config.pipeline_execution_with_tensor_core = bool(rng.random() < 0.2)
    return config


def num_tags(config: Config) -> int:
    tags = set()
    for table in config.table_descriptor:
        parameters = table.optimization_parameters
        if parameters.learning_rate.HasField("dynamic"):
            tags.add(parameters.learning_rate.dynamic.tag)
        if parameters.HasField("frequency_aware_adagrad"):
            tags.add(parameters.frequency_aware_adagrad.step_counter.tag)
    return len(tags)


def random_state(rng: np.random.Generator, table: Any) -> list[np.ndarray]:
    """[weights, *slots] such that every formula is well defined."""
    shape = (table.vocabulary_size, table.dimension)
    name = table.optimization_parameters.WhichOneof("parameters")

    def draw(slot: str) -> np.ndarray:
        if slot in ("accumulators", "vs", "v", "ms", "updates", "velocities"):
            return rng.uniform(0.25, 1.0, shape)
        if slot in ("counters", "last_hit_step"):
            return np.broadcast_to(rng.integers(0, 4, (shape[0], 1)), shape)
        if slot == "mg":
            return rng.uniform(-0.1, 0.1, shape)
        return rng.normal(0, 0.5, shape)

    weights = rng.normal(0, 0.5, shape)
    if name == "frequency_estimator":
        weights = rng.uniform(1, 5, shape)
    arrays = [weights, *(draw(slot) for slot in OPTIMIZERS[name].slots)]
    return [np.ascontiguousarray(a, dtype=np.float32) for a in arrays]


class Ids(NamedTuple):
    indices: np.ndarray  # sample indices or row splits
    ids: np.ndarray
    weights: np.ndarray


def _weights(rng: np.random.Generator, count: int) -> np.ndarray:
    """None, or multiples of 1/8, whose sums are exact in float32."""
    if rng.random() < 0.4:
        return np.zeros(0, np.float32)
    low = -8 if rng.random() < 0.3 else 0
    return (rng.integers(low, 24, count) / 8.0).astype(
        np.float64 if rng.integers(2) else np.float32
    )


def _splits(rng: np.random.Generator, rows: int, count: int) -> np.ndarray:
    inner = np.sort(rng.integers(0, count + 1, rows - 1)) if rows > 1 else []
    return np.concatenate([[0], inner, [count]]).astype(np.int64)


def _arbitrary_input(
    rng: np.random.Generator, shape: list[int], vocabulary: int
) -> Ids:
    positions = int(np.prod(shape))
    form = rng.choice(["sparse", "dense", "ragged", "sequence", "empty"])
    if form == "dense":
        ids = rng.integers(0, vocabulary, positions)
        weights = _weights(rng, positions)
        if rng.integers(2):
            return Ids(np.zeros(0, np.int64), ids, weights)
        return Ids(np.zeros((0, len(shape) + 1), np.int64), ids, weights)
    if form == "empty":
        nothing = np.zeros(0, np.int64)
        indices = np.zeros((0, len(shape) + 1), np.int64)
        return Ids(indices, nothing, np.zeros(0, np.float32))
    count = int(rng.integers(0, 3 * positions + 1))
    ids = rng.integers(0, vocabulary, count)
    weights = _weights(rng, count)
    if form == "sparse":
        limits = list(shape)
        if len(shape) >= 2:
            limits[-1] += 1  # coordinates beyond the last axis are dropped
        columns = [rng.integers(0, limit, count) for limit in limits]
        columns.append(rng.integers(0, 5, count))
        if count == 0:
            weights = np.zeros(0, np.float32)
        return Ids(np.stack(columns, 1).astype(np.int64), ids, weights)
    rows = positions
    if form == "sequence":
        divisors = [n for n in range(1, positions + 1) if positions % n == 0]
        rows = int(rng.choice(divisors))
    return Ids(_splits(rng, rows, count), ids, weights)


def _list_inputs(
    rng: np.random.Generator, inputs: list[Ids], first_name: str
) -> dict[str, Any]:
    """The three lists of tensors, each of a random allowed type."""
    index_type = np.int32 if rng.integers(2) else np.int64
    id_type = np.int32 if rng.integers(2) else np.int64
    weight_type = np.float32 if rng.integers(2) else np.float64
    return {
        first_name: [i.indices.astype(index_type) for i in inputs],
        "embedding_indices": [i.ids.astype(id_type) for i in inputs],
        "aggregation_weights": [i.weights.astype(weight_type) for i in inputs],
    }


def _random_combiners(rng: np.random.Generator, count: int) -> list[str]:
    if rng.random() < 0.2:
        return []
    return [str(c) for c in rng.choice(["sum", "mean", "sqrtn"], count)]


def _widths(rng: np.random.Generator, total: int) -> list[int]:
    widths = []
    while total > 0:
        widths.append(int(rng.integers(1, total + 1)))
        total -= widths[-1]
    return widths


def _tensor_batch(
    rng: np.random.Generator, config: Config, ragged: bool
) -> dict[str, Any]:
    batch = config.batch_size_per_tensor_core
    # (table, max_sequence_length, num_features) of each input.
    layout: list[tuple[int, int, int]] = []
    for t, table in enumerate(config.table_descriptor):
        for width in _widths(rng, table.num_features):
            sequence = rng.random() < 0.4
            layout.append((t, width if sequence else 0, 1 if sequence else width))
    order = rng.permutation(len(layout))
    layout = [layout[i] for i in order]
    inputs = []
    for t, length, width in layout:
        vocabulary = config.table_descriptor[t].vocabulary_size
        samples = batch * (1 if length else width)
        count = int(rng.integers(0, 3 * samples + 1))
        ids = rng.integers(0, vocabulary, count)
        weights = _weights(rng, count)
        if ragged:
            indices = _splits(rng, samples, count)
        elif count == 0:
            indices, weights = np.zeros((0, 2), np.int64), weights[:0]
        elif length or rng.integers(2):
            indices = np.stack(
                [rng.integers(0, samples, count), rng.integers(0, length + 2, count)], 1
            )
        else:
            indices = rng.integers(0, samples, count)
        inputs.append(Ids(indices, ids, weights))
    kwargs = _list_inputs(rng, inputs, "sample_splits" if ragged else "sample_indices")
    kwargs["table_ids"] = [t for t, _, _ in layout]
    kwargs["max_sequence_lengths"] = [length for _, length, _ in layout]
    kwargs["num_features"] = [width for _, _, width in layout]
    kwargs["combiners"] = _random_combiners(rng, len(config.table_descriptor))
    return kwargs


def random_inputs(
    rng: np.random.Generator, config: Config, mode_override: str = "unspecified"
) -> tuple[str, dict[str, Any]]:
    """An Enqueue op without its device_ordinal, and its arguments."""
    if config.feature_descriptor:
        inputs = [
            _arbitrary_input(
                rng,
                list(f.input_shape),
                config.table_descriptor[f.table_id].vocabulary_size,
            )
            for f in config.feature_descriptor
        ]
        op = "EnqueueTPUEmbeddingArbitraryTensorBatch"
        kwargs = _list_inputs(rng, inputs, "sample_indices_or_row_splits")
        kwargs["combiners"] = _random_combiners(rng, len(config.table_descriptor))
    else:
        form = rng.choice(["integer", "sparse", "sparse_tensor", "ragged"])
        sizes = [
            (
                config.batch_size_per_tensor_core * table.num_features,
                table.vocabulary_size,
            )
            for table in config.table_descriptor
        ]
        if form == "integer":
            op = "EnqueueTPUEmbeddingIntegerBatch"
            kwargs = {
                "batch": [rng.integers(0, v, n).astype(np.int32) for n, v in sizes]
            }
        elif form == "sparse":
            inputs = []
            for n, v in sizes:
                count = int(rng.integers(0, 3 * n + 1))
                inputs.append(
                    Ids(
                        rng.integers(0, n, count),
                        rng.integers(0, v, count),
                        _weights(rng, count),
                    )
                )
            op = "EnqueueTPUEmbeddingSparseBatch"
            kwargs = _list_inputs(rng, inputs, "sample_indices")
            kwargs["combiners"] = _random_combiners(rng, len(sizes))
        elif form == "sparse_tensor":
            op = "EnqueueTPUEmbeddingSparseTensorBatch"
            kwargs = _tensor_batch(rng, config, ragged=False)
        else:
            op = "EnqueueTPUEmbeddingRaggedTensorBatch"
            kwargs = _tensor_batch(rng, config, ragged=True)
    kwargs["mode_override"] = mode_override
    return op, kwargs


def activation_shapes(config: Config) -> list[list[int]]:
    tables = config.table_descriptor
    if config.feature_descriptor:
        return [
            [*f.input_shape, tables[f.table_id].dimension]
            for f in config.feature_descriptor
        ]
    return [
        [config.batch_size_per_tensor_core * t.num_features, t.dimension]
        for t in tables
    ]


def random_gradients(
    rng: np.random.Generator, config: Config
) -> tuple[list[np.ndarray], list[np.float32]]:
    gradients = [
        rng.normal(0, 0.5, shape).astype(np.float32)
        for shape in activation_shapes(config)
    ]
    rates = [np.float32(rng.uniform(0.01, 0.5)) for _ in range(num_tags(config))]
    return gradients, rates
