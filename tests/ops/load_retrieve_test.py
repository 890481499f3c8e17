"""Load and Retrieve: every optimizer, shards, LoadAll, what they refuse."""

import threading
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.ops import harness, small_model
from tests.ops.harness import raises
from tests.reference import cases
from tests.reference.engine import Engine
from tests.reference.optimizers import OPTIMIZERS

_INVALID = tf.errors.InvalidArgumentError
_SHARD = {"num_shards": 1, "shard_id": 0}

# Bit patterns that arithmetic would not keep.
_ODD_BITS = np.array(
    [0x00000000, 0x80000000, 0x00000001, 0x7F800000, 0xFF800000, 0x7FC00001],
    np.uint32,
).view(np.float32)


def _config(optimizer: str, strategy: int = 0) -> Any:
    config = cases.Config(
        mode=cases.Config.TRAINING,
        sharding_strategy=strategy,
        batch_size_per_tensor_core=1,
    )
    for name in ("first", "second"):
        table = config.table_descriptor.add(
            name=name, vocabulary_size=13, dimension=6, num_features=1
        )
        getattr(table.optimization_parameters, optimizer).SetInParent()
    for table in config.table_descriptor:
        if optimizer == "adagrad_momentum":
            table.optimization_parameters.adagrad_momentum.exponent = 2
            table.optimization_parameters.adagrad_momentum.epsilon = 0.1
        if optimizer == "frequency_estimator":
            table.dimension = 1
    return config


def _values(config: Any, seed: int) -> list[np.ndarray]:
    """[weights, *slots] of a table, some of them with odd bits."""
    rng = np.random.default_rng(seed)
    table = config.table_descriptor[0]
    shape = (table.vocabulary_size, table.dimension)
    values = []
    for _ in range(1 + len(harness.slots(table))):
        value = rng.normal(size=shape).astype(np.float32)
        value.flat[: len(_ODD_BITS)] = _ODD_BITS
        values.append(value)
    return values


def _assert_same_bits(actual: Any, expected: np.ndarray) -> None:
    actual = np.asarray(actual)
    assert actual.shape == expected.shape
    np.testing.assert_array_equal(
        actual.view(np.uint32), np.ascontiguousarray(expected).view(np.uint32)
    )


_WITH_OPS = [name for name, o in OPTIMIZERS.items() if o.op_name is not None]


@pytest.mark.parametrize("optimizer", _WITH_OPS)
def test_RoundTripIsExactInEveryBit(optimizer: str) -> None:
    config = _config(optimizer)
    harness.configure(config)
    tables = [_values(config, seed) for seed in (1, 2)]
    for t, values in enumerate(tables):
        harness.load(config, t, values)
    for t, values in enumerate(tables):
        for actual, expected in zip(harness.retrieve(config, t), values, strict=True):
            _assert_same_bits(actual, expected)


def test_RoundTrip_MdlAdagradLight() -> None:
    config = _config("mdl_adagrad_light")
    harness.configure(config)
    names = ("parameters", "accumulators", "weights", "benefits")
    values = [np.full((13, 6), i, np.float32) for i in range(4)]
    shard = {"table_id": 1, "num_shards": 1, "shard_id": 0}
    harness.op(
        "LoadTPUEmbeddingMDLAdagradLightParameters",
        **dict(zip(names, values, strict=True)),
        **shard,
    )
    actual = harness.op("RetrieveTPUEmbeddingMDLAdagradLightParameters", **shard)
    for got, want in zip(actual, values, strict=True):
        _assert_same_bits(got, want)


@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_BeforeLoad_ParametersAreZeroAndSlotsInitial(optimizer: str) -> None:
    config = _config(optimizer)
    harness.configure(config)
    weights, *slots = harness.tables_of(config)[0]
    assert not weights.any()
    for slot, initial in zip(slots, OPTIMIZERS[optimizer].initial, strict=True):
        np.testing.assert_array_equal(slot, np.full(slot.shape, np.float32(initial)))


@pytest.mark.parametrize("strategy", [0, 1])
@pytest.mark.parametrize("num_shards", [1, 2, 5, 13, 20])
def test_ShardsHoldTheRowsOfTheSpecification(strategy: int, num_shards: int) -> None:
    config = _config("adagrad", strategy)
    harness.configure(config)
    values = _values(config, 3)
    reference = Engine(config)
    rows = [reference.shard_rows(0, s, num_shards) for s in range(num_shards)]
    if num_shards == 5 and strategy == 0:
        assert rows == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10], [11, 12]]
    if num_shards == 5 and strategy == 1:
        assert rows == [[0, 5, 10], [1, 6, 11], [2, 7, 12], [3, 8], [4, 9]]
    for s in range(num_shards):
        harness.load(config, 0, [v[rows[s]] for v in values], num_shards, s)
    for s in range(num_shards):
        actual = harness.retrieve(config, 0, num_shards, s)
        for got, want in zip(actual, values, strict=True):
            _assert_same_bits(got, want[rows[s]])
    for got, want in zip(harness.retrieve(config, 0), values, strict=True):
        _assert_same_bits(got, want)


def test_Load_OneShardLeavesTheOthers() -> None:
    config = _config("stochastic_gradient_descent")
    harness.configure(config)
    harness.load(config, 0, [np.ones((3, 6), np.float32)], num_shards=5, shard_id=1)
    expected = np.zeros((13, 6), np.float32)
    expected[3:6] = 1
    _assert_same_bits(harness.retrieve(config, 0)[0], expected)


# LoadAll, RetrieveAll.


@pytest.mark.parametrize("status", [0, 1, 2])
@pytest.mark.parametrize("optimizer", list(OPTIMIZERS))
def test_RetrieveAll_HasEightVariables(optimizer: str, status: int) -> None:
    config = _config(optimizer)
    for table in config.table_descriptor:
        table.optimization_parameters.gradient_accumulation_status = status
    harness.configure(config)
    tables = [_values(config, seed) for seed in (4, 5)]
    harness.load_all(config, tables)
    for actual, values in zip(harness.retrieve_all(config), tables, strict=True):
        for got, want in zip(actual, values, strict=False):
            _assert_same_bits(got, want)
        rest = actual[len(values) :]
        if status != 2:  # not DISABLED: the smallest denormal, "untouched"
            accumulators = rest.pop(0)
            assert accumulators.shape == values[0].shape
            assert (accumulators.view(np.uint32) == 1).all()
        assert all(r.shape == (0, 0) for r in rest)


def test_LoadAll_IgnoresGradientAccumulators() -> None:
    config = _config("adagrad")
    harness.configure(config)
    tables = [_values(config, seed) for seed in (4, 5)]
    harness.load_all(config, tables)
    harness.load_all(config, tables)
    assert (harness.retrieve_all(config)[0][2].view(np.uint32) == 1).all()


def test_LoadAll_IsAllOrNothing() -> None:
    config = _config("adagrad")
    harness.configure(config)
    good, bad = _values(config, 6), _values(config, 7)
    bad[1] = bad[1][:-1]
    with raises(_INVALID, "'second'", "accumulators", "[12,6]", "[13,6]"):
        harness.load_all(config, [good, bad])
    assert not harness.retrieve(config, 0)[0].any()


def test_RetrieveAll_ShowsOneStep() -> None:
    config = small_model.table_config()
    for table in config.table_descriptor:
        table.vocabulary_size, table.dimension = 50_000, 8
        table.num_features = 1
        table.optimization_parameters.CopyFrom(
            config.table_descriptor[0].optimization_parameters
        )
    harness.configure(config)
    stop = threading.Event()

    def train() -> None:
        while not stop.is_set():
            harness.op(
                "EnqueueTPUEmbeddingIntegerBatch",
                batch=[np.zeros(2, np.int32)] * 2,
                mode_override="train",
                device_ordinal=0,
            )
            harness.recv(config)
            harness.send(config, [np.ones((2, 8), np.float32)] * 2, [])

    thread = threading.Thread(target=train)
    thread.start()
    try:
        for _ in range(50):
            first, second = (t[0][0, 0] for t in harness.tables_of(config))
            assert first == second
    finally:
        stop.set()
        thread.join(30)


def _load_all_arguments(config: Any) -> dict[str, list[np.ndarray]]:
    full = np.ones((13, 6), np.float32)
    names = ["parameters", *(f"auxiliary{i}" for i in range(1, 8))]
    used = 3 if harness.accumulates(config.table_descriptor[0]) else 2
    return {
        name: [full if i < used else np.zeros((0, 0), np.float32)] * 2
        for i, name in enumerate(names)
    }


@pytest.mark.parametrize(
    ("change", "attrs", "texts"),
    [
        ({"parameters": (13, 5)}, {}, ["'first'", "parameters", "[13,5]", "[13,6]"]),
        ({"auxiliary1": (12, 6)}, {}, ["'first'", "accumulators", "[12,6]"]),
        ({"auxiliary2": (0, 0)}, {}, ["'first'", "gradient_accumulators", "[0,0]"]),
        ({"auxiliary3": (13, 6)}, {}, ["'first'", "auxiliary3", "zero elements"]),
        ({"auxiliary7": ()}, {}, ["'first'", "auxiliary7", "zero elements"]),
        (
            {},
            {"num_shards": 2, "shard_id": 2},
            ["The value of shard_id must be >= 0 and < 2. Currently set to: 2"],
        ),
        (
            {},
            {"num_shards": 14, "shard_id": 13},
            [
                "All embedding shards must be non-empty, shard ID: 13 is empty, "
                "vocabulary size: 13, number of shards: 14"
            ],
        ),
        ({}, {"num_shards": 0, "shard_id": 0}, ["num_shards"]),
        ({}, {"config": b""}, ["TPU embedding config is empty."]),
        ({}, {"config": b"\xff\xff"}, ["Failed to parse"]),
    ],
)
def test_LoadAll_Refuses(change: Any, attrs: Any, texts: list[str]) -> None:
    config = _config("adagrad")
    harness.configure(config)
    arguments: dict[str, Any] = _load_all_arguments(config)
    for name, shape in change.items():
        arguments[name] = [np.ones(shape, np.float32), arguments[name][1]]
    attrs = {
        "num_shards": 1,
        "shard_id": 0,
        "config": config.SerializeToString(),
    } | attrs
    with raises(_INVALID, *texts):
        harness.op("LoadAllTPUEmbeddingParameters", **arguments, **attrs)
    assert not harness.retrieve(config, 0)[0].any()


def test_LoadAll_WrongNumberOfTables() -> None:
    config = _config("adagrad")
    harness.configure(config)
    attrs = _SHARD | {"config": config.SerializeToString()}
    with raises(_INVALID, "NumTables is 1", "2 tables"):
        harness.op("RetrieveAllTPUEmbeddingParameters", NumTables=1, **attrs)
    arguments = {name: v[:1] for name, v in _load_all_arguments(config).items()}
    with raises(_INVALID, "NumTables is 1", "2 tables"):
        harness.op("LoadAllTPUEmbeddingParameters", **arguments, **attrs)
    assert not harness.retrieve(config, 0)[0].any()


# Errors of the ops for one table.


@pytest.fixture
def adagrad() -> Any:
    config = _config("adagrad")
    harness.configure(config)
    return config


_ONE_OF = "exactly one of table_id or table_name must be non-default"


@pytest.mark.parametrize(
    ("attrs", "texts"),
    [
        (_SHARD, [_ONE_OF]),
        (_SHARD | {"table_id": 0, "table_name": "first"}, [_ONE_OF]),
        (_SHARD | {"table_id": 2}, ["table_id 2", "[0, 2)"]),
        (_SHARD | {"table_name": "third"}, ["'third'", "'first', 'second'"]),
        (
            {"table_id": 0, "num_shards": 3, "shard_id": 3},
            ["The value of shard_id must be >= 0 and < 3. Currently set to: 3"],
        ),
        (
            {"table_id": 0, "num_shards": 3, "shard_id": -1},
            ["The value of shard_id must be >= 0 and < 3. Currently set to: -1"],
        ),
        ({"table_id": 0, "num_shards": 0, "shard_id": 0}, ["num_shards"]),
        (_SHARD | {"table_id": 0, "config": b"\xff\xff"}, ["Failed to parse"]),
    ],
)
def test_OneTable_BadAttributes(adagrad: Any, attrs: Any, texts: list[str]) -> None:
    values = np.ones((13, 6), np.float32)
    with raises(_INVALID, *texts):
        harness.op(
            "LoadTPUEmbeddingAdagradParameters",
            parameters=values,
            accumulators=values,
            **attrs,
        )
    with raises(_INVALID, *texts):
        harness.op("RetrieveTPUEmbeddingAdagradParameters", **attrs)
    assert not harness.retrieve(adagrad, 0)[0].any()


def test_OneTable_ConfigThatIsNotTheActiveOne(adagrad: Any) -> None:
    other = _config("adagrad")
    other.table_descriptor[1].dimension = 7
    values = [np.ones((13, 6), np.float32)] * 2
    for call in (
        lambda: harness.op(
            "RetrieveTPUEmbeddingAdagradParameters",
            table_id=0,
            config=other.SerializeToString(),
            **_SHARD,
        ),
        lambda: harness.load(other, 0, values),
        lambda: harness.load_all(other, [values, values]),
        lambda: harness.retrieve_all(other),
    ):
        with raises(_INVALID, "differs from the active one", "dimension"):
            call()
    assert not harness.retrieve(adagrad, 0)[0].any()


def test_OneTable_OptimizerOfAnotherTable(adagrad: Any) -> None:
    values = np.ones((13, 6), np.float32)
    with raises(
        _INVALID, "LoadTPUEmbeddingFTRLParameters", "'first'", "Adagrad", "FTRL"
    ):
        harness.op(
            "LoadTPUEmbeddingFTRLParameters",
            parameters=values,
            accumulators=values,
            linears=values,
            table_id=0,
            **_SHARD,
        )
    with raises(_INVALID, "RetrieveTPUEmbeddingADAMParameters", "'first'", "Adagrad"):
        harness.op("RetrieveTPUEmbeddingADAMParameters", table_id=0, **_SHARD)
    assert not harness.retrieve(adagrad, 0)[0].any()


@pytest.mark.parametrize(
    ("parameters", "accumulators", "texts"),
    [
        ((13, 5), (13, 5), ["parameters", "[13,5]", "[13,6]"]),
        ((13, 6), (12, 6), ["accumulators", "[12,6]", "[13,6]"]),
        ((13,), (13,), ["parameters", "[13]", "[13,6]"]),
    ],
)
def test_Load_WrongShape(
    adagrad: Any, parameters: Any, accumulators: Any, texts: list[str]
) -> None:
    with raises(_INVALID, "'first'", *texts):
        harness.load(
            adagrad,
            0,
            [np.ones(parameters, np.float32), np.ones(accumulators, np.float32)],
        )
    weights, slot = harness.retrieve(adagrad, 0)
    assert not weights.any()
    np.testing.assert_array_equal(slot, np.full((13, 6), np.float32(0.1)))


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (("first", ""), "Table 1 has empty name string."),
        (("twin", "twin"), "Tables 0 and 1 have the same name 'twin'."),
    ],
)
def test_OneTable_NamesMustTellTablesApart(names: Any, text: str) -> None:
    config = _config("adagrad")
    for table, name in zip(config.table_descriptor, names, strict=True):
        table.name = name
    harness.configure(config)
    values = _values(config, 8)
    for table in ({"table_id": 0}, {"table_name": names[0]}):
        with raises(_INVALID, text):
            harness.op(
                "LoadTPUEmbeddingAdagradParameters",
                parameters=values[0],
                accumulators=values[1],
                **table,
                **_SHARD,
            )
        with raises(_INVALID, text):
            harness.op("RetrieveTPUEmbeddingAdagradParameters", **table, **_SHARD)
    # The ops for all tables need no names.
    harness.load_all(config, [values, values])
    for actual in harness.retrieve_all(config):
        _assert_same_bits(actual[0], values[0])


def test_WithoutEngine() -> None:
    values = [np.ones((13, 6), np.float32)]
    config = _config("stochastic_gradient_descent")
    for call in (
        lambda: harness.load(config, 0, values),
        lambda: harness.retrieve(config, 0),
        lambda: harness.load_all(config, [values, values]),
        lambda: harness.retrieve_all(config),
    ):
        with raises(
            tf.errors.FailedPreconditionError,
            "TPU embedding engine is not configured; run ConfigureTPUEmbedding first",
        ):
            call()
