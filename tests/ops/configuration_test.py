"""The life of the engine: configuration ops, their chain, what they refuse."""

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.tpu import topology_pb2

from tests.ops import harness, small_model
from tests.ops.harness import raises

errors = tf.errors


def _is_initialized(config: Any = b"") -> bool:
    return bool(harness.op("IsTPUEmbeddingInitialized", config=config))


def test_IsInitialized_FollowsConfigureAndShutdown() -> None:
    assert not _is_initialized()
    harness.configure(small_model.feature_config())
    assert _is_initialized()
    harness.op("ShutdownDistributedTPU")
    assert not _is_initialized()


def test_IsInitialized_ComparesProtos() -> None:
    config = small_model.feature_config()
    harness.configure(config)
    assert _is_initialized(config.SerializeToString())
    # The same fields in another order: a message may be split into parts.
    tables, rest = type(config)(), type(config)()
    tables.table_descriptor.extend(config.table_descriptor)
    rest.CopyFrom(config)
    del rest.table_descriptor[:]
    assert _is_initialized(rest.SerializeToString() + tables.SerializeToString())
    config.feature_descriptor[0].name = "other"
    assert not _is_initialized(config.SerializeToString())
    assert not _is_initialized(b"\xff\xff")


def test_Configure_AgainReplacesTheEngine() -> None:
    config = small_model.configured(small_model.feature_config())
    small_model.enqueue("inference")
    harness.configure(config)
    small_model.assert_tables(
        config,
        [
            [np.zeros((7, 2))],
            [np.zeros((5, 3)), np.full((5, 3), np.float32(0.1))],
        ],
    )
    small_model.load(config)
    small_model.assert_works(config)  # The old batch is gone.


def test_Configure_TicketsOfTheOldEngineAreRefused() -> None:
    config = small_model.configured(small_model.feature_config())
    small_model.enqueue()
    harness.recv(config)
    harness.configure(config)
    with raises(errors.FailedPreconditionError, "awaits gradients"):
        harness.send(config, small_model.gradients(), small_model.LEARNING_RATES)


Change = Callable[[Any], None]


def _set(path: str, value: Any) -> Change:
    """Sets a field such as 'table_descriptor.1.name'."""

    def change(message: Any) -> None:
        *parents, field = path.split(".")
        for parent in parents:
            message = (
                message[int(parent)] if parent.isdigit() else getattr(message, parent)
            )
        setattr(message, field, value)

    return change


def _clear(field: str) -> Change:
    return lambda message: message.ClearField(field)


_MODE = (
    "TPUEmbeddingConfiguration.mode is INVALID.  Must be INFERENCE, TRAINING, or "
    "BACKWARD_PASS_ONLY"
)


def _use_momentum_without_exponent(message: Any) -> None:
    parameters = message.table_descriptor[0].optimization_parameters
    parameters.adagrad_momentum.momentum = 0.5
    parameters.adagrad_momentum.epsilon = 0.1


def _quantize(num_buckets: int, lower: float | None, upper: float | None) -> Change:
    def change(message: Any) -> None:
        quantization = message.table_descriptor[
            0
        ].optimization_parameters.simulated_quantization
        quantization.enabled = True
        quantization.num_buckets = num_buckets
        if lower is not None:
            quantization.clipping_limits.lower.value = lower
        if upper is not None:
            quantization.clipping_limits.upper.value = upper

    return change


def _use_program(message: Any) -> None:
    parameters = message.table_descriptor[0].optimization_parameters
    parameters.user_defined_program.SetInParent()


def _spmd(num_cores: int) -> Change:
    def change(message: Any) -> None:
        message.num_tensor_cores = 4
        message.spmd_sharding.enabled = True
        message.spmd_sharding.num_cores_per_replica = num_cores

    return change


_INVALID = errors.InvalidArgumentError

# Dialect, change, error, texts.
_REFUSED = [
    ("feature", _set("mode", 0), _INVALID, [_MODE]),
    ("table", _set("mode", 0), _INVALID, [_MODE]),
    (
        "table",
        _set("batch_size_per_tensor_core", 0),
        _INVALID,
        ["Invalid batch_size_per_tensor_core: 0. Valid values are >0."],
    ),
    (
        "table",
        _set("batch_size_per_tensor_core", -3),
        _INVALID,
        ["Invalid batch_size_per_tensor_core: -3. Valid values are >0."],
    ),
    (
        "table",
        _set("table_descriptor.1.num_features", 0),
        _INVALID,
        ["num_features", "0", "'own'", "Valid values are >0."],
    ),
    (
        "feature",
        _set("batch_size_per_tensor_core", 4),
        _INVALID,
        ["batch_size_per_tensor_core", "must not be populated together"],
    ),
    (
        "feature",
        _set("table_descriptor.0.num_features", 1),
        _INVALID,
        ["num_features", "'shared'", "must not be populated together"],
    ),
    (
        "feature",
        _set("feature_descriptor.1.table_id", 2),
        _INVALID,
        ["'words'", "table_id 2", "[0, 2)"],
    ),
    (
        "feature",
        _set("feature_descriptor.1.table_id", -1),
        _INVALID,
        ["'words'", "table_id -1", "[0, 2)"],
    ),
    (
        "feature",
        lambda c: c.feature_descriptor[2].ClearField("input_shape"),
        _INVALID,
        ["'user'", "input_shape"],
    ),
    (
        "feature",
        lambda c: c.feature_descriptor[2].input_shape.append(0),
        _INVALID,
        ["'user'", "input_shape", "0"],
    ),
    (
        "feature",
        _set("feature_descriptor.2.table_id", 0),
        _INVALID,
        ["No feature_descriptor fields found for table", "'own'"],
    ),
    ("table", _clear("table_descriptor"), _INVALID, ["no table"]),
    (
        "table",
        _set("table_descriptor.0.vocabulary_size", 0),
        _INVALID,
        ["vocabulary_size: 0", "'shared'"],
    ),
    (
        "feature",
        _set("table_descriptor.1.dimension", -2),
        _INVALID,
        ["dimension: -2", "'own'"],
    ),
    ("table", _set("num_hosts", -1), _INVALID, ["num_hosts: -1"]),
    ("table", _set("num_tensor_cores", -1), _INVALID, ["num_tensor_cores: -1"]),
    ("table", _set("sharding_strategy", 7), _INVALID, ["sharding_strategy", "7"]),
    (
        "feature",
        lambda c: c.table_descriptor[0].ClearField("optimization_parameters"),
        _INVALID,
        ["No optimization algorithm specified", "'shared'"],
    ),
    (
        "feature",
        _set("table_descriptor.1.optimization_parameters.learning_rate.dynamic.tag", 1),
        _INVALID,
        [
            "Dynamic learning rate tag: 0 not found in the TPU embedding "
            "configuration, instead found: ",
            "1",
        ],
    ),
    ("feature", _use_momentum_without_exponent, _INVALID, ["exponent", "'shared'"]),
    ("feature", _quantize(1, 0.0, 1.0), _INVALID, ["num_buckets", "1", "'shared'"]),
    ("feature", _quantize(4, None, 1.0), _INVALID, ["clipping_limits", "'shared'"]),
    ("feature", _quantize(4, 1.0, 1.0), _INVALID, ["clipping_limits", "'shared'"]),
    (
        "feature",
        _use_program,
        errors.UnimplementedError,
        ["UserDefinedProgram", "'shared'"],
    ),
    ("feature", _spmd(0), _INVALID, ["num_cores_per_replica"]),
    ("feature", _spmd(3), _INVALID, ["num_cores_per_replica", "3"]),
    (
        "feature",
        _set("table_descriptor.0.vocabulary_size", 2**61),
        errors.ResourceExhaustedError,
        ["'shared'", str(2**61)],
    ),
    (
        "feature",
        _set("table_descriptor.1.vocabulary_size", 2**40),
        errors.ResourceExhaustedError,
        ["'own'", "bytes"],
    ),
]


@pytest.mark.parametrize(("dialect", "change", "error", "texts"), _REFUSED)
def test_Configure_Refuses(
    dialect: str, change: Change, error: Any, texts: list[str]
) -> None:
    active = small_model.configured(small_model.feature_config())
    make = getattr(small_model, f"{dialect}_config")
    config = make()
    change(config)
    with raises(error, *texts):
        harness.configure(config)
    # The engine that was there goes on.
    assert _is_initialized(active.SerializeToString())
    small_model.assert_works(active)


_ROOM_FOR_ONE = """
    import re, resource
    from tests.ops import harness, small_model

    config = small_model.feature_config()
    # 400 MB that are never touched, so no memory is taken.
    config.table_descriptor[0].vocabulary_size = 50_000_000
    harness.configure(config)
    status = open("/proc/self/status").read()
    used = int(re.search(r"VmSize:\\s*(\\d+)", status)[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000,) * 2)
    small_model.enqueue("inference")
    harness.configure(config)
    print("replaced")
"""


def test_Configure_AgainWhereThereIsRoomForOneEngineOnly() -> None:
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_ROOM_FOR_ONE)],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ,
        check=False,
    )
    assert "replaced" in result.stdout, result.stderr[-2000:]


def test_Configure_EmptyOrUnparsable() -> None:
    with raises(_INVALID, "TPU embedding config is empty."):
        harness.op("ConfigureTPUEmbedding", config="")
    with raises(
        _INVALID, "Failed to parse TPUEmbeddingConfiguration proto from config attr"
    ):
        harness.op("ConfigureTPUEmbedding", config=b"\xff\xff")
    assert not _is_initialized()


def test_Configure_ZeroHostsAndCoresMeanOne() -> None:
    config = small_model.feature_config(num_hosts=0, num_tensor_cores=0)
    small_model.configured(config)
    small_model.assert_works(config)


def test_Configure_InferenceNeedsNoOptimizer() -> None:
    config = small_model.feature_config(num_tensor_cores=1)
    config.mode = config.INFERENCE
    for table in config.table_descriptor:
        table.ClearField("optimization_parameters")
    harness.configure(config)
    values = np.arange(14, dtype=np.float32).reshape(7, 2)
    harness.op(
        "LoadTPUEmbeddingStochasticGradientDescentParameters",
        parameters=values,
        table_id=0,
        num_shards=1,
        shard_id=0,
    )
    small_model.enqueue()
    np.testing.assert_array_equal(harness.recv(config)[0], values[:4])


# The chain that a TPU host makes of ConfigureTPUEmbedding.


def _run_chain(config: Any, finalize: str) -> Any:
    serialized = config.SerializeToString()
    common = harness.op("ExecuteTPUEmbeddingPartitioner", config=serialized)
    memories = [
        harness.op("ConfigureTPUEmbeddingMemory", common_config=common)
        for _ in range(2)
    ]
    merged = harness.op("CollateTPUEmbeddingMemory", memory_configs=memories)
    networks = [
        harness.op(
            "ConfigureTPUEmbeddingHost",
            common_config=common,
            memory_config=merged,
            config=common.numpy(),
        )
        for _ in range(2)
    ]
    harness.op("ConnectTPUEmbeddingHosts", network_configs=networks)
    assert all(len(blob.numpy()) > 0 for blob in (common, *memories, merged, *networks))
    return common, harness.op(finalize, common_config=common, memory_config=merged)


@pytest.mark.parametrize("finalize", ["FinalizeTPUEmbedding", "FinalizeTPUEmbeddingV2"])
@pytest.mark.parametrize("dialect", ["feature", "table"])
def test_Chain_ConfiguresTheEngine(dialect: str, finalize: str) -> None:
    config = getattr(small_model, f"{dialect}_config")()
    _, outputs = _run_chain(config, finalize)
    assert _is_initialized(config.SerializeToString())
    if finalize.endswith("V2"):
        assert [o.dtype for o in outputs] == [tf.string, tf.string]
    small_model.load(config)
    small_model.assert_works(config)


# What could as well have been derived from a table dialect.
def test_Chain_KeepsFeaturesThatAreNamedAsTheirTables() -> None:
    config = small_model.feature_config()
    del config.feature_descriptor[:]
    for t, table in enumerate(config.table_descriptor):
        config.feature_descriptor.add(name=table.name, table_id=t, input_shape=[4])
    _run_chain(config, "FinalizeTPUEmbedding")
    assert _is_initialized(config.SerializeToString())


def test_Chain_HostNeedsTheTablesOfTheCommonConfig() -> None:
    config = small_model.feature_config()
    common = harness.op(
        "ExecuteTPUEmbeddingPartitioner", config=config.SerializeToString()
    )
    memory = harness.op("ConfigureTPUEmbeddingMemory", common_config=common)
    config.table_descriptor[0].vocabulary_size += 1
    with raises(_INVALID, "other tables"):
        harness.op(
            "ConfigureTPUEmbeddingHost",
            common_config=common,
            memory_config=memory,
            config=config.SerializeToString(),
        )


def test_Partitioner_ReturnsThePopulatedConfig() -> None:
    common, _ = _run_chain(small_model.feature_config(), "FinalizeTPUEmbedding")
    populated = type(small_model.feature_config()).FromString(common.numpy())
    # Inputs of 4, 6 and 4 positions: batches of 2.
    assert populated.batch_size_per_tensor_core == 2
    assert [t.num_features for t in populated.table_descriptor] == [5, 2]
    common, _ = _run_chain(small_model.table_config(), "FinalizeTPUEmbedding")
    populated = type(populated).FromString(common.numpy())
    assert [list(f.input_shape) for f in populated.feature_descriptor] == [[4], [2]]
    assert [f.name for f in populated.feature_descriptor] == ["shared", "own"]


def test_Partitioner_ExampleOfTheSpecification() -> None:
    config = small_model.feature_config()
    del config.feature_descriptor[:]
    for table, shape in (
        (0, [100, 5]),
        (1, [200, 5, 20]),
        (0, [50]),
        (0, [100, 2, 3]),
    ):
        config.feature_descriptor.add(table_id=table, input_shape=shape)
    common = harness.op(
        "ExecuteTPUEmbeddingPartitioner", config=config.SerializeToString()
    )
    populated = type(config).FromString(common.numpy())
    assert populated.batch_size_per_tensor_core == 50
    assert [t.num_features for t in populated.table_descriptor] == [23, 400]


def test_Chain_RefusesBlobsOfAnotherChain() -> None:
    commons = [
        harness.op("ExecuteTPUEmbeddingPartitioner", config=c.SerializeToString())
        for c in (small_model.feature_config(), small_model.table_config())
    ]
    memories = [
        harness.op("ConfigureTPUEmbeddingMemory", common_config=c) for c in commons
    ]
    with raises(_INVALID, "memory_config 0 and 1"):
        harness.op("CollateTPUEmbeddingMemory", memory_configs=memories)
    with raises(_INVALID, "another common_config"):
        harness.op(
            "FinalizeTPUEmbedding", common_config=commons[0], memory_config=memories[1]
        )
    with raises(_INVALID, "memory_config was not made by"):
        harness.op(
            "FinalizeTPUEmbedding", common_config=commons[0], memory_config="anything"
        )
    with raises(_INVALID, "network_config was not made by"):
        harness.op("ConnectTPUEmbeddingHosts", network_configs=[memories[0]])
    with raises(_INVALID, "common_config must be a scalar"):
        harness.op("ConfigureTPUEmbeddingMemory", common_config=[commons[0]])
    assert not _is_initialized()


def test_Partitioner_Refuses() -> None:
    config = small_model.feature_config()
    config.mode = config.UNSPECIFIED
    with raises(_INVALID, _MODE):
        harness.op("ExecuteTPUEmbeddingPartitioner", config=config.SerializeToString())
    with raises(_INVALID, "Failed to parse"):
        harness.op("ExecuteTPUEmbeddingPartitioner", config=b"\xff\xff")


# The TPU system.


def test_ConfigureDistributedTPU_DropsTheEngine() -> None:
    small_model.configured(small_model.feature_config())
    harness.op("ConfigureDistributedTPU")
    assert not _is_initialized()


def test_ConfigureDistributedTPU_TakesAnEmbeddingConfig() -> None:
    config = small_model.feature_config()
    topology = topology_pb2.TopologyProto.FromString(
        harness.op(
            "ConfigureDistributedTPU", tpu_embedding_config=config.SerializeToString()
        ).numpy()
    )
    assert _is_initialized(config.SerializeToString())
    # One core for each logical device.
    assert topology.num_tasks == 1
    assert topology.num_tpu_devices_per_task == harness.NUM_DEVICES
    assert list(topology.mesh_shape) == [harness.NUM_DEVICES, 1, 1, 1]
    assert len(topology.device_coordinates) == 4 * harness.NUM_DEVICES


def test_ConfigureDistributedTPU_Refuses() -> None:
    with raises(_INVALID, "embedding_config is reserved and must be empty"):
        harness.op("ConfigureDistributedTPU", embedding_config="x")
    with raises(_INVALID, "Failed to parse"):
        harness.op("ConfigureDistributedTPU", tpu_embedding_config=b"\xff\xff")
