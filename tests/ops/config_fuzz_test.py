"""Configurations mutated at random: refused or accepted, never fatal."""

import random
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf.descriptor import FieldDescriptor

from tests.ops import harness, small_model
from tests.reference import cases

# What the family may answer to a bad configuration.
_REFUSALS = (
    tf.errors.InvalidArgumentError,
    tf.errors.UnimplementedError,
    tf.errors.ResourceExhaustedError,
)

_INTEGERS = [0, 1, 2, 3, -1, 7, 100, 2**16, 2**31 - 1, -(2**31)]
_FLOATS = [0.0, -1.0, 0.5, 1e30, float("inf"), float("-inf"), float("nan")]


def _is_repeated(message: Any, field: Any) -> bool:
    return hasattr(getattr(message, field.name), "MergeFrom") and hasattr(
        getattr(message, field.name), "__len__"
    )


def _messages(message: Any) -> list[Any]:
    """The message and all that are set below it."""
    found = [message]
    for field, value in message.ListFields():
        if field.cpp_type != FieldDescriptor.CPPTYPE_MESSAGE:
            continue
        for child in value if _is_repeated(message, field) else [value]:
            found += _messages(child)
    return found


def _random_value(rng: random.Random, field: Any) -> Any:
    kind = field.cpp_type
    if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return rng.choice(_FLOATS)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return rng.choice(["", "shared", "x" * 1000])
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return rng.choice([0, 1, 2, 3, 77])
    if kind == FieldDescriptor.CPPTYPE_INT64:
        return rng.choice([*_INTEGERS, 2**40, 2**62, -(2**63)])
    return rng.choice(_INTEGERS)


def _mutate_field(rng: random.Random, root: Any) -> None:
    message = rng.choice(_messages(root))
    if not message.DESCRIPTOR.fields:
        return
    field = rng.choice(message.DESCRIPTOR.fields)
    is_message = field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE
    if _is_repeated(message, field):
        values = getattr(message, field.name)
        if values and rng.random() < 0.5:
            del values[rng.randrange(len(values))]
        elif not is_message:
            values.append(_random_value(rng, field))
        elif values and rng.random() < 0.5:
            values.add().CopyFrom(values[0])
        else:
            values.add()
    elif rng.random() < 0.2:
        message.ClearField(field.name)
    elif is_message:
        getattr(message, field.name).SetInParent()
    else:
        setattr(message, field.name, _random_value(rng, field))


def _mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    mutable = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        where = rng.randrange(len(mutable) + 1)
        action = rng.random()
        if action < 0.3:
            mutable.insert(where, rng.randrange(256))
        elif mutable and where < len(mutable):
            if action < 0.6:
                del mutable[where]
            else:
                mutable[where] ^= 1 << rng.randrange(8)
    return bytes(mutable)


def _try(config: bytes) -> bool:
    """Configures; if that goes well, looks something up. Any refusal is fine."""
    try:
        harness.op("ConfigureTPUEmbedding", config=config)
    except _REFUSALS:
        return False
    parsed = cases.Config.FromString(config)
    shapes = cases.activation_shapes(parsed)
    sizes = [int(np.prod(shape, dtype=object)) for shape in shapes]
    if sum(sizes) > 10**6 or parsed.mode == parsed.BACKWARD_PASS_ONLY:
        return True
    count = len(shapes)
    with harness.on_core(0):
        try:
            harness.op(
                "EnqueueTPUEmbeddingArbitraryTensorBatch",
                sample_indices_or_row_splits=[np.zeros(0, np.int32)] * count,
                embedding_indices=[np.zeros(0, np.int64)] * count,
                aggregation_weights=[np.zeros(0, np.float32)] * count,
                mode_override="inference",
                device_ordinal=0,
            )
            if not parsed.spmd_sharding.enabled:
                for activation, shape in zip(harness.recv(parsed), shapes, strict=True):
                    assert activation.shape == shape
        except _REFUSALS:
            pass
    return True


def _base(rng: random.Random) -> Any:
    if rng.random() < 0.3:
        return small_model.feature_config()
    return cases.random_config(
        np.random.default_rng(rng.randrange(10**6)), rng.random() < 0.5
    )


@pytest.mark.parametrize("seed", range(300))
def test_MutatedFields(seed: int) -> None:
    rng = random.Random(seed)
    config = _base(rng)
    for _ in range(rng.randint(1, 3)):
        _mutate_field(rng, config)
    _try(config.SerializeToString())


@pytest.mark.parametrize("seed", range(200))
def test_MutatedBytes(seed: int) -> None:
    rng = random.Random(seed)
    _try(_mutate_bytes(rng, _base(rng).SerializeToString()))


def test_UnmutatedBasesAreAccepted() -> None:
    rng = random.Random(1)
    assert all(_try(_base(rng).SerializeToString()) for _ in range(20))


@pytest.mark.parametrize("seed", range(60))
def test_OtherOpsSurviveMutatedConfigs(seed: int) -> None:
    """Recv, Send, Load and Retrieve with a config attribute that is damaged."""
    rng = random.Random(seed)
    active = small_model.configured(small_model.feature_config())
    config = small_model.feature_config()
    _mutate_field(rng, config)
    small_model.enqueue("inference")
    serialized = config.SerializeToString()
    calls = (
        lambda: harness.op(
            "LoadAllTPUEmbeddingParameters",
            **{
                name: [np.zeros((1, 1), np.float32)] * 2
                for name in ("parameters", *(f"auxiliary{i}" for i in range(1, 8)))
            },
            config=serialized,
            num_shards=1,
            shard_id=0,
        ),
        lambda: harness.op(
            "RetrieveAllTPUEmbeddingParameters",
            NumTables=2,
            config=serialized,
            num_shards=1,
            shard_id=0,
        ),
        lambda: harness.op("ComputeDedupDataTupleMask", config=serialized),
        lambda: harness.op("ExecuteTPUEmbeddingPartitioner", config=serialized),
        lambda: harness.op("IsTPUEmbeddingInitialized", config=serialized),
        lambda: harness.op(
            "RecvTPUEmbeddingActivations", num_outputs=3, config=serialized
        ),
        lambda: harness.send(config, small_model.gradients(), [np.float32(1)]),
    )
    for call in calls:
        try:
            call()
        except (*_REFUSALS, tf.errors.FailedPreconditionError):
            pass
    small_model.assert_tables(active, small_model.parameters())
