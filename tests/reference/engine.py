"""A slow and obvious TPU embedding engine in NumPy: docs/ops.md, all of it."""

import collections
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from tensorflow.core.protobuf.tpu import optimization_parameters_pb2

from tests.reference import positions as positions_lib
from tests.reference.interval import Interval, clip, floor, sqrt, total
from tests.reference.optimizers import (
    OPTIMIZERS,
    Scalars,
    update_rows,
    visits_all_rows,
)

UNSPECIFIED, INFERENCE, TRAINING, BACKWARD_PASS_ONLY = range(4)

_MODES = {
    "unspecified": UNSPECIFIED,
    "train": TRAINING,
    "training": TRAINING,
    "inference": INFERENCE,
    "backward_pass_only": BACKWARD_PASS_ONLY,
}


class Feature(NamedTuple):
    table: int
    input_shape: tuple[int, ...]

    @property
    def num_positions(self) -> int:
        return int(np.prod(self.input_shape))


# For each position of a feature, its (id, coefficient) pairs.
Contributions = list[list[tuple[int, Interval]]]


class Batch(NamedTuple):
    mode: int
    features: list[Contributions]


def _coefficients(
    pairs: list[tuple[int, float]], combiner: str
) -> list[tuple[int, Interval]]:
    """(id, coefficient) of one position."""
    weights = [float(np.float32(w)) for _, w in pairs]
    if combiner == "sum":
        scale = Interval.exactly(1.0)
    else:
        terms = weights if combiner == "mean" else [w * w for w in weights]
        if sum(terms) == 0:  # Exact: test weights are multiples of 1/8.
            scale = Interval.exactly(0.0)
        elif combiner == "mean":
            scale = 1.0 / total([Interval.exactly(w) for w in terms])
        else:
            scale = 1.0 / sqrt(total([Interval.exactly(w) for w in terms]))
    return [(id_, w * scale) for (id_, _), w in zip(pairs, weights, strict=True)]


class Engine:
    """State and step protocol; all methods follow the ops of the same name."""

    def __init__(self, config: Any):
        self.config = config
        self.tables = list(config.table_descriptor)
        if config.feature_descriptor:
            self.features = [
                Feature(f.table_id, tuple(f.input_shape))
                for f in config.feature_descriptor
            ]
        else:
            self.features = [
                Feature(t, (config.batch_size_per_tensor_core * table.num_features,))
                for t, table in enumerate(self.tables)
            ]
        self.num_cores = config.num_tensor_cores or 1
        # [weights, *slots] of each table.
        self.state: list[list[Interval]] = []
        for table in self.tables:
            shape = (table.vocabulary_size, table.dimension)
            name = table.optimization_parameters.WhichOneof("parameters")
            initial = OPTIMIZERS[name].initial if name in OPTIMIZERS else ()
            self.state.append(
                [
                    Interval.exactly(np.full(shape, np.float32(value)))
                    for value in (0.0, *initial)
                ]
            )
        self.queues: list[collections.deque[Batch]] = [
            collections.deque() for _ in range(self.num_cores)
        ]
        # Received training batches that wait for their gradients.
        self.received: list[collections.deque[Batch]] = [
            collections.deque() for _ in range(self.num_cores)
        ]
        # Gradients of the step that not all cores have sent yet.
        self.sent: dict[int, tuple[Batch, list[np.ndarray]]] = {}
        self.pending: Any = None  # a step that pipelining holds back

    # Parameters.

    def load(self, table: int, values: Sequence[np.ndarray]) -> None:
        """Whole tables; `values` are [weights, *slots]."""
        self.flush()
        self.state[table] = [Interval.exactly(v) for v in values]

    def shard_rows(self, table: int, shard: int, num_shards: int) -> list[int]:
        rows = self.tables[table].vocabulary_size
        if self.config.sharding_strategy == self.config.MOD:
            return [i for i in range(rows) if i % num_shards == shard]
        quotient, rest = divmod(rows, num_shards)
        first = shard * quotient + min(shard, rest)
        return list(range(first, first + quotient + (shard < rest)))

    # Ids.

    def enqueue(self, core: int, op: str, inputs: dict[str, Any]) -> None:
        mode = _MODES[inputs.get("mode_override", "unspecified")] or self.config.mode
        if "ArbitraryTensor" in op:
            placed = self._arbitrary(inputs)
        elif "Integer" in op:
            placed = [positions_lib.integer(ids) for ids in inputs["batch"]]
        elif "SparseBatch" in op:
            placed = self._sparse(inputs)
        else:
            placed = self._tensor_batch(inputs, ragged="Ragged" in op)
        combiners = self._combiners(inputs.get("combiners", []))
        features = [
            [
                _coefficients(pairs, combiners[f] if combined else "sum")
                for pairs, combined in zip(*placed[f], strict=True)
            ]
            for f in range(len(self.features))
        ]
        self.queues[core].append(Batch(mode, features))

    def _combiners(self, combiners: Sequence[str]) -> list[str]:
        """One for each feature."""
        if not combiners:
            return ["sum"] * len(self.features)
        if len(combiners) == len(self.tables):
            return [combiners[f.table] for f in self.features]
        return list(combiners)

    def _arbitrary(self, inputs: dict[str, Any]) -> list[positions_lib.Positions]:
        return [
            positions_lib.arbitrary(
                feature.input_shape,
                inputs["sample_indices_or_row_splits"][f],
                inputs["embedding_indices"][f],
                inputs["aggregation_weights"][f],
            )
            for f, feature in enumerate(self.features)
        ]

    def _sparse(self, inputs: dict[str, Any]) -> list[positions_lib.Positions]:
        return [
            positions_lib.sparse(
                feature.num_positions,
                inputs["sample_indices"][f],
                inputs["embedding_indices"][f],
                inputs["aggregation_weights"][f],
            )
            for f, feature in enumerate(self.features)
        ]

    def _tensor_batch(
        self, inputs: dict[str, Any], ragged: bool
    ) -> list[positions_lib.Positions]:
        first = inputs["sample_splits" if ragged else "sample_indices"]
        count = len(first)
        lengths = inputs.get("max_sequence_lengths") or [0] * count
        num_features = inputs.get("num_features") or [1] * count
        pairs: list[list[list[tuple[int, float]]]] = [
            [[] for _ in range(f.num_positions)] for f in self.features
        ]
        combined = [[True] * f.num_positions for f in self.features]
        next_slot = [0] * len(self.tables)
        for i, table in enumerate(inputs["table_ids"]):
            placed, is_combined = positions_lib.tensor_batch(
                self.config.batch_size_per_tensor_core,
                self.tables[table].num_features,
                next_slot[table],
                lengths[i],
                num_features[i],
                first[i],
                inputs["embedding_indices"][i],
                inputs["aggregation_weights"][i],
                ragged,
            )
            next_slot[table] += lengths[i] or num_features[i]
            for position, values in placed.items():
                pairs[table][position] += values
                combined[table][position] = is_combined
        return [
            positions_lib.Positions(pairs[t], combined[t])
            for t in range(len(self.tables))
        ]

    # Steps.

    def recv(self, core: int) -> list[Interval]:
        batch = self.queues[core].popleft()
        if batch.mode == INFERENCE or not self._pipelined():
            self.flush()
        activations = [
            self._lookup(f, batch.features[f]) for f in range(len(batch.features))
        ]
        if batch.mode == TRAINING:
            self.received[core].append(batch)
        return activations

    def _pipelined(self) -> bool:
        return bool(
            self.config.pipeline_execution_with_tensor_core
            and self.config.mode == TRAINING
        )

    def _quantized(self, table: int, rows: Interval) -> Interval:
        quantization = self.tables[table].optimization_parameters.simulated_quantization
        if not quantization.enabled:
            return rows
        lower = quantization.clipping_limits.lower.value
        upper = quantization.clipping_limits.upper.value
        quantum = Interval.exactly(upper - lower) / (quantization.num_buckets - 1)
        x = clip(rows, lower, upper)
        return floor((x - lower) / quantum + 0.5) * quantum + lower

    def _lookup(self, f: int, contributions: Contributions) -> Interval:
        feature = self.features[f]
        dim = self.tables[feature.table].dimension
        lo = np.zeros((feature.num_positions, dim))
        hi = np.zeros_like(lo)
        for p, pairs in enumerate(contributions):
            if not pairs:
                continue
            terms = [
                c * self._quantized(feature.table, self.state[feature.table][0][i])
                for i, c in pairs
            ]
            position = total(terms)
            lo[p], hi[p] = position.lo, position.hi
        shape = (*feature.input_shape, dim)
        return Interval(lo.reshape(shape), hi.reshape(shape))

    def send(
        self,
        core: int,
        gradients: Sequence[np.ndarray],
        learning_rates: Sequence[float],
    ) -> None:
        if self.queues[core] and self.queues[core][0].mode == BACKWARD_PASS_ONLY:
            batch = self.queues[core].popleft()
        else:
            batch = self.received[core].popleft()
        self.sent[core] = (batch, list(gradients))
        if len(self.sent) < self.num_cores:
            return
        step = ([self.sent[c] for c in range(self.num_cores)], list(learning_rates))
        self.sent = {}
        if self._pipelined():
            # Applied after the next training batch's lookup; see recv.
            self.flush()
            self.pending = step
        else:
            self._update(*step)

    def flush(self) -> None:
        if self.pending is not None:
            step, self.pending = self.pending, None
            self._update(*step)

    def _update(self, cores: Any, learning_rates: list[float]) -> None:
        for t, table in enumerate(self.tables):
            contributions: dict[int, list[Interval]] = {}
            for batch, gradients in cores:
                for f, feature in enumerate(self.features):
                    if feature.table != t:
                        continue
                    rows = gradients[f].reshape(feature.num_positions, table.dimension)
                    for p, pairs in enumerate(batch.features[f]):
                        for id_, c in pairs:
                            contributions.setdefault(id_, []).append(
                                c * Interval.exactly(rows[p])
                            )
            self._update_table(t, contributions, learning_rates)

    def _update_table(
        self,
        t: int,
        contributions: dict[int, list[Interval]],
        learning_rates: list[float],
    ) -> None:
        table = self.tables[t]
        parameters: optimization_parameters_pb2.OptimizationParameters
        parameters = table.optimization_parameters
        if visits_all_rows(parameters):
            touched = list(range(table.vocabulary_size))
        else:
            touched = sorted(contributions)
        if not touched:
            return
        nothing = Interval.exactly(np.zeros(table.dimension))
        sums = [
            total(contributions[i]) if i in contributions else nothing for i in touched
        ]
        gradient = Interval(
            np.stack([s.lo for s in sums]), np.stack([s.hi for s in sums])
        )
        rate = parameters.learning_rate
        if rate.HasField("dynamic"):
            learning_rate = learning_rates[rate.dynamic.tag]
        else:
            learning_rate = rate.constant
        tag = parameters.frequency_aware_adagrad.step_counter.tag
        counter = (
            learning_rates[tag]
            if parameters.HasField("frequency_aware_adagrad")
            else 0.0
        )
        rows = [variable[touched] for variable in self.state[t]]
        new = update_rows(parameters, Scalars(learning_rate, counter), gradient, rows)
        self.state[t] = [
            variable.with_rows(touched, values)
            for variable, values in zip(self.state[t], new, strict=True)
        ]
