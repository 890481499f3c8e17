"""Random calls of an embedding class: every input form and edge case.

Numbers are small multiples of 1/8, so that sums are exact in float32 and two
implementations may differ only by the rounding of divisions and roots.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

embedding = tf.tpu.experimental.embedding

COMBINERS = ("sum", "mean", "sqrtn")


def _eighths(rng, size, low=-24, high=24):
    return (rng.integers(low, high + 1, size) / 8).astype(np.float32)


@dataclasses.dataclass
class Call:
    """One call: configuration, table contents and inputs."""

    features: dict[str, Any]
    tables: dict[str, np.ndarray]
    inputs: dict[str, Any]
    weights: dict[str, Any] | None
    description: list[str]

    def make(self, cls):
        """An object of `cls` that holds the tables."""
        layer = cls(self.features, None)
        for config, variable in layer.embedding_tables.items():
            variable.assign(self.tables[config.name])
        return layer


def _ids(rng, size, rows, dtype, fault):
    ids = rng.integers(0, rows, size).astype(dtype)
    if fault == "large id" and size:
        ids[rng.integers(size)] = rows + rng.integers(3)
    if fault == "negative id" and size:
        ids[rng.integers(size)] = -1 - rng.integers(3)
    return ids


def _weights(rng, size, fault):
    weights = _eighths(rng, size, 1, 16)
    if fault == "odd weights":
        weights[rng.random(size) < 0.5] *= -1
        weights[rng.random(size) < 0.3] = 0
    if fault == "zero weights":
        weights[:] = 0
    return weights


def _sparse(rng, batch, rows, dtype, fault, rank):
    shape = [batch, *rng.integers(1, 4, rank - 1)]
    if rank == 1:
        shape = [batch]
    everywhere = np.array(list(np.ndindex(*shape)), np.int64).reshape(-1, rank)
    chosen = everywhere[rng.random(len(everywhere)) < rng.choice([0.0, 0.4, 1.0])]
    if fault == "repeated place" and len(chosen):
        chosen = np.repeat(chosen, 2, axis=0)
    if fault == "unsorted":
        chosen = rng.permutation(chosen)
    if fault == "row outside" and len(chosen):
        chosen[-1, 0] = batch + 2
    if fault == "negative row" and len(chosen):
        chosen[0, 0] = -1
    ids = _ids(rng, len(chosen), rows, dtype, fault)
    return tf.SparseTensor(chosen, ids, np.array(shape, np.int64))


def _ragged(rng, batch, rows, dtype, fault, splits_dtype):
    lengths = rng.choice([0, 1, 2, 5], batch, p=[0.25, 0.25, 0.3, 0.2])
    splits = np.concatenate([[0], np.cumsum(lengths)]).astype(splits_dtype)
    ids = _ids(rng, splits[-1], rows, dtype, fault)
    if fault == "splits beyond ids":
        splits[-1] += 1
    if fault == "splits decrease" and batch > 1:
        splits[1] = splits[-1] + 1
    return tf.RaggedTensor.from_row_splits(ids, splits, validate=False)


_FAULTS = {
    "dense": ("large id", "negative id", "weights"),
    "sparse": (
        "large id",
        "negative id",
        "odd weights",
        "zero weights",
        "unsorted",
        "repeated place",
        "row outside",
        "negative row",
        "weights",
        "weights of another kind",
    ),
    "ragged": (
        "large id",
        "negative id",
        "odd weights",
        "zero weights",
        "splits beyond ids",
        "splits decrease",
        "output shape",
        "weights",
        "weights of another kind",
    ),
}
# They make rows differ from what is stored, and are part of the contract.
_NO_ERRORS = ("odd weights", "zero weights")


def random_call(seed: int) -> Call:
    rng = np.random.default_rng(seed)
    call = Call({}, {}, {}, None, [f"seed {seed}"])
    tables = []
    for i in range(rng.integers(1, 4)):
        rows, dim = int(rng.integers(1, 9)), int(rng.choice([1, 2, 3, 8, 17]))
        config = embedding.TableConfig(
            rows, dim, combiner=str(rng.choice(COMBINERS)), name=f"table{i}"
        )
        tables.append(config)
        call.tables[config.name] = _eighths(rng, (rows, dim))
    # Only one feature may be wrong: which of two errors TensorFlow reports is
    # not defined.
    num_features = int(rng.integers(1, 5))
    faulty = int(rng.integers(num_features)) if rng.random() < 0.5 else -1
    weights = {}
    for i in range(num_features):
        name = f"feature{i}"
        table = tables[rng.integers(len(tables))]
        kind = str(rng.choice(["dense", "sparse", "ragged"]))
        batch = int(rng.choice([0, 1, 2, 4, 7]))
        dtype = rng.choice([np.int32, np.int64])
        fault = None
        if i == faulty or rng.random() < 0.3:
            faults = _FAULTS[kind] if i == faulty else _NO_ERRORS
            fault = str(rng.choice(faults))
        if batch < 2 and fault in ("splits beyond ids", "splits decrease"):
            fault = None  # TensorFlow does not notice
        if batch == 0 and fault == "output shape":
            fault = None
        # TensorFlow's own process crashes on sequences with broken splits.
        broken = fault is not None and fault.startswith("splits")
        length = int(rng.choice([0, 0, 2, 4])) if kind != "dense" else 0
        if broken:
            length = 0
        validate = bool(rng.random() < 0.6)
        if fault == "weights":  # which neither dense nor sequence features have
            length = max(length, 2) if kind != "dense" else 0
        weighted = kind != "dense" and length == 0 and rng.random() < 0.5
        weighted = weighted or fault in ("weights", "weights of another kind")
        output_shape = None
        rank = 2
        if kind == "dense":
            shape = [(batch,), (batch, 2), ()][rng.integers(3)]
            size = int(np.prod(shape))
            inp = tf.constant(
                _ids(rng, size, table.vocabulary_size, dtype, fault).reshape(shape)
            )
        elif kind == "sparse":
            rank = int(rng.choice([1, 2, 2, 2, 3]))
            if rank != 2:
                length = 0
            inp = _sparse(rng, batch, table.vocabulary_size, dtype, fault, rank)
            if rng.random() < 0.2:
                # Of a sparse feature it only says that there is no sequence.
                output_shape = [batch + 1, 2]
        else:
            splits = rng.choice([np.int32, np.int64])
            inp = _ragged(rng, batch, table.vocabulary_size, dtype, fault, splits)
            if batch and not broken and rng.random() < 0.3:
                output_shape = [batch, int(rng.integers(1, 4))]
            if fault == "output shape":
                output_shape = [batch + 1]
        weights[name] = None
        if weighted and kind == "dense":
            weights[name] = tf.ones_like(inp, tf.float32)
        elif weighted and fault == "weights of another kind":
            weights[name] = tf.ones_like(inp.values, tf.float32)
        elif weighted:
            values = _weights(rng, int(inp.values.shape[0]), fault)
            weights[name] = (
                tf.SparseTensor(inp.indices, values, inp.dense_shape)
                if kind == "sparse"
                else inp.with_values(tf.constant(values))
            )
        call.features[name] = embedding.FeatureConfig(
            table,
            max_sequence_length=length,
            validate_weights_and_indices=validate,
            output_shape=output_shape,
            name=name,
        )
        call.inputs[name] = inp
        call.description.append(
            f"{name}: {kind} rank {rank} batch {batch} {np.dtype(dtype).name}"
            f" fault {fault} L {length} validate {validate} weighted {weighted}"
            f" output_shape {output_shape} {table.combiner}"
            f" V {table.vocabulary_size}"
        )
    if any(weight is not None for weight in weights.values()):
        call.weights = weights
    if rng.random() < 0.2:  # a subset of the features
        name = str(rng.choice(list(call.inputs)))
        call.inputs = {name: call.inputs[name]}
        if call.weights is not None:
            call.weights = {name: call.weights[name]}
    return call
