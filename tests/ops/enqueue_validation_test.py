"""What the Enqueue ops refuse. Nothing is enqueued and the engine still works."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.ops import harness, small_model
from tests.ops.harness import raises

errors = tf.errors

_NO_WEIGHTS = np.zeros(0, np.float32)


@pytest.fixture
def features() -> Iterator[Any]:
    config = small_model.configured(small_model.feature_config())
    yield config
    # Nothing was enqueued: the only batch is that of assert_works.
    small_model.assert_works(config)


@pytest.fixture
def tables() -> Iterator[Any]:
    config = small_model.configured(small_model.table_config())
    yield config
    small_model.assert_works(config)
    harness.op(
        "EnqueueTPUEmbeddingIntegerBatch",
        batch=[np.arange(4, dtype=np.int32), np.array([4, 0], np.int32)],
        mode_override="inference",
    )
    shared, own = harness.recv(config)
    np.testing.assert_array_equal(shared, small_model.parameters()[0][0][:4])
    np.testing.assert_array_equal(own, small_model.parameters()[1][0][[4, 0]])


def _changed(name: str, index: int, value: Any) -> dict[str, Any]:
    inputs = small_model.arbitrary_inputs()
    inputs[name][index] = np.asarray(value)
    return inputs


_INDICES = "sample_indices_or_row_splits"
_IDS = "embedding_indices"
_WEIGHTS = "aggregation_weights"


@pytest.mark.parametrize(
    ("name", "index", "value", "texts"),
    [
        # Ids.
        (_IDS, 0, np.array([0, 7, 0, 0]), ["'color'", "'shared'", "id 7", "[0, 7)"]),
        (_IDS, 2, np.array([4, 0, -1]), ["'user'", "'own'", "id -1", "[0, 5)"]),
        (_IDS, 1, np.array([2**40, 0]), ["'words'", "id 1099511627776", "[0, 7)"]),
        (_IDS, 0, np.array([0, 1, 2]), ["'color'", "3 dense ids", "[4]"]),
        (_IDS, 0, np.array([[0, 1], [2, 3]]), ["'color'", "rank 1", "2"]),
        (_IDS, 1, np.array([6]), ["'words'", "2 sample indices for 1 ids"]),
        (_IDS, 2, np.array([4, 0]), ["'user'", "end with 3", "2 ids"]),
        # Weights.
        (_WEIGHTS, 0, np.ones(3, np.float32), ["'color'", "3 weights for 4 ids"]),
        (_WEIGHTS, 1, np.ones(1, np.float32), ["'words'", "1 weights for 2 ids"]),
        (_WEIGHTS, 2, np.ones(4, np.float32), ["'user'", "4 weights for 3 ids"]),
        (_WEIGHTS, 2, np.ones((3, 1), np.float32), ["'user'", "rank 1"]),
        # Sample indices.
        (_INDICES, 1, [[0, 0], [1, 2]], ["'words'", "2 columns", "needs 3"]),
        (_INDICES, 1, [[0, 0, 0], [2, 0, 0]], ["'words'", "2", "[0, 2)", "row 1"]),
        (_INDICES, 1, [[0, 0, 0], [-1, 0, 0]], ["'words'", "-1", "[0, 2)"]),
        (_INDICES, 1, [[0, 0, 0], [0, -1, 0]], ["'words'", "-1", "[0, 3)"]),
        (_INDICES, 2, [[0, 0], [1, 0], [4, 0]], ["'user'", "4", "[0, 4)", "row 2"]),
        (_INDICES, 1, np.zeros((2, 3, 1), np.int32), ["'words'", "rank 2 or 1"]),
        (_INDICES, 1, np.int32(3), ["'words'", "rank 2 or 1"]),
        # Row splits.
        (_INDICES, 2, [1, 1, 1, 3, 3], ["'user'", "begin with 1 instead of 0"]),
        (_INDICES, 2, [0, 2, 1, 3, 3], ["'user'", "decrease from 2 to 1"]),
        (_INDICES, 2, [0, 1, 1, 2, 2], ["'user'", "end with 2", "3 ids"]),
        (_INDICES, 2, [0, 1, 2, 3], ["'user'", "3 ragged rows", "[4]"]),
        (_INDICES, 2, [0, 1, 1, 1, 2, 3], ["'user'", "5 ragged rows", "[4]"]),
    ],
)
def test_ArbitraryTensorBatch_BadInput(
    features: Any, name: str, index: int, value: Any, texts: list[str]
) -> None:
    inputs = _changed(name, index, value)
    dtype = {_INDICES: np.int32, _IDS: np.int64, _WEIGHTS: np.float32}[name]
    inputs[name][index] = inputs[name][index].astype(dtype)
    with raises(errors.InvalidArgumentError, *texts):
        small_model.enqueue(**inputs)


@pytest.mark.parametrize(
    ("index", "value", "texts"),
    [
        (1, [[0, 0, 0], [2**32 + 1, 0, 0]], ["'words'", "4294967297", "[0, 2)"]),
        (2, [0, 1, 1, 2**32 + 3, 2**32 + 3], ["'user'", "end with 4294967299"]),
    ],
)
def test_ArbitraryTensorBatch_WideIndicesAreNotCutOff(
    features: Any, index: int, value: Any, texts: list[str]
) -> None:
    inputs = small_model.arbitrary_inputs()
    inputs[_INDICES] = [i.astype(np.int64) for i in inputs[_INDICES]]
    inputs[_INDICES][index] = np.array(value, np.int64)
    with raises(errors.InvalidArgumentError, *texts):
        small_model.enqueue(**inputs)


def test_ArbitraryTensorBatch_NoRaggedRow(features: Any) -> None:
    inputs = _changed(_INDICES, 2, np.array([0], np.int32))
    inputs[_IDS][2] = np.zeros(0, np.int64)
    with raises(errors.InvalidArgumentError, "'user'", "0 ragged rows"):
        small_model.enqueue(**inputs)


def test_ArbitraryTensorBatch_EmptyIsFine(features: Any) -> None:
    nothing = {
        _INDICES: [np.zeros((0, n), np.int32) for n in (2, 3, 2)],
        _IDS: [np.zeros(0, np.int64)] * 3,
        _WEIGHTS: [_NO_WEIGHTS] * 3,
    }
    small_model.enqueue(**nothing)
    for activation in harness.recv(features):
        assert not np.any(activation)
    harness.send(features, small_model.gradients(), small_model.LEARNING_RATES)
    small_model.assert_tables(features, small_model.parameters())


@pytest.mark.parametrize("weights", [[0.0, 0.0], [1.0, -1.0]])
def test_ZeroDenominatorGivesZero(features: Any, weights: list[float]) -> None:
    inputs = small_model.arbitrary_inputs()
    inputs[_WEIGHTS][2] = np.array([1.0, *weights], np.float32)
    small_model.enqueue(**inputs, combiners=["mean", "mean"], mode="inference")
    user = harness.recv(features)[2].numpy()
    np.testing.assert_array_equal(user[0], small_model.parameters()[1][0][4])
    np.testing.assert_array_equal(user[2], [0, 0, 0])


def test_WrongNumberOfInputs(features: Any) -> None:
    inputs = {
        name: values[:2] for name, values in small_model.arbitrary_inputs().items()
    }
    with raises(errors.InvalidArgumentError, "Expected 3 inputs", "got 2"):
        small_model.enqueue(**inputs)


def test_Combiners_UnknownName(features: Any) -> None:
    with raises(
        errors.InvalidArgumentError,
        'Invalid combiner: only "sum", "mean", and "sqrtn" are supported.',
        "average",
    ):
        small_model.enqueue(combiners=["sum", "average"])


def test_Combiners_WrongLength(features: Any) -> None:
    with raises(
        errors.InvalidArgumentError, "Invalid length of combiners. Have 4", "2", "3"
    ):
        small_model.enqueue(combiners=["sum"] * 4)


def test_Combiners_OfTheOtherForms(tables: Any) -> None:
    nothing = ([], [], [])
    with raises(errors.InvalidArgumentError, "Invalid combiner", "max"):
        harness.op(
            "EnqueueTPUEmbeddingSparseBatch",
            **_lists("sample_indices", [nothing, nothing]),
            combiners=["sum", "max"],
        )
    with raises(errors.InvalidArgumentError, "Invalid length of combiners. Have 4"):
        harness.op(
            "EnqueueTPUEmbeddingRaggedTensorBatch",
            **_lists("sample_splits", [([0, 0, 0], [], [])] * 3),
            table_ids=[0, 0, 1],
            combiners=["sum"] * 4,
        )


def test_Combiners_PerTableOrPerInput(features: Any) -> None:
    inputs = _changed(_IDS, 2, np.array([4, 0, 1], np.int64))
    _, (own, _) = small_model.parameters()
    for combiners in (["sum", "mean"], ["sum", "sqrtn", "mean"]):
        small_model.enqueue(**inputs, combiners=combiners, mode="inference")
        user = harness.recv(features)[2]
        np.testing.assert_allclose(user[2], (own[0] + own[1]) / 2, rtol=2**-22)


@pytest.mark.parametrize("text", ["TRAIN", "", "backward", "infer"])
def test_ModeOverride_Unknown(features: Any, text: str) -> None:
    with raises(
        errors.InvalidArgumentError,
        f"Unsupported value {text} specified for mode_override.",
    ):
        small_model.enqueue(text)


def test_ModeOverride_NotScalar(features: Any) -> None:
    with raises(errors.InvalidArgumentError, "mode_override must be a scalar", "[1]"):
        small_model.enqueue(["train"])


@pytest.mark.parametrize("mode", ["train", "training"])
def test_ModeOverride_BothSpellingsOfTraining(features: Any, mode: str) -> None:
    small_model.enqueue(mode)
    harness.recv(features)
    harness.send(features, small_model.gradients(0.0), small_model.LEARNING_RATES)


@pytest.mark.parametrize("ordinal", [1, 5, -2])
def test_DeviceOrdinal_OutOfRange(features: Any, ordinal: int) -> None:
    with raises(
        errors.InvalidArgumentError, f"device_ordinal {ordinal} is outside [0, 1)"
    ):
        small_model.enqueue(device_ordinal=ordinal)


def test_DeviceOrdinal_MinusOneNeedsOneCore() -> None:
    config = small_model.configured(small_model.feature_config(num_tensor_cores=2))
    with raises(
        errors.InvalidArgumentError, "device_ordinal is -1", "num_tensor_cores = 2"
    ):
        small_model.enqueue(device_ordinal=-1)
    small_model.assert_works(config, core=1)


_DYNAMIC = "DynamicEnqueueTPUEmbeddingArbitraryTensorBatch"


def test_Dynamic_OrdinalIsReadAtEachStep() -> None:
    config = small_model.configured(small_model.feature_config(num_tensor_cores=3))

    @tf.function
    def enqueue(ordinal: tf.Tensor, inputs: Any) -> None:
        tf.raw_ops.DynamicEnqueueTPUEmbeddingArbitraryTensorBatch(
            **inputs, mode_override="inference", device_ordinal=ordinal
        )

    inputs = tf.nest.map_structure(tf.constant, small_model.arbitrary_inputs())
    for core in (2, 0, 1):
        enqueue(tf.constant(core), inputs)
        harness.recv(config, core)


@pytest.mark.parametrize(
    ("ordinal", "text"),
    [
        (3, "device_ordinal 3 is outside [0, 1)"),
        (-7, "device_ordinal -7 is outside [0, 1)"),
        ([0], "device_ordinal must be a scalar"),
    ],
)
def test_Dynamic_BadOrdinal(features: Any, ordinal: Any, text: str) -> None:
    with raises(errors.InvalidArgumentError, text):
        harness.op(
            _DYNAMIC,
            **small_model.arbitrary_inputs(),
            mode_override="train",
            device_ordinal=np.asarray(ordinal, np.int32),
        )


def test_TableForms_NeedTheTableDialect(features: Any) -> None:
    with raises(errors.InvalidArgumentError, "feature descriptors"):
        harness.op(
            "EnqueueTPUEmbeddingIntegerBatch",
            batch=[np.zeros(4, np.int32), np.zeros(4, np.int32)],
            mode_override="train",
        )


def test_StringBatch_IsUnimplemented(tables: Any) -> None:
    with raises(errors.UnimplementedError, "EnqueueTPUEmbeddingBatch", "not public"):
        harness.op(
            "EnqueueTPUEmbeddingBatch", batch=["", ""], mode_override="unspecified"
        )


# The table dialect: "shared" has 2 * 2 samples, "own" 2 * 1.


@pytest.mark.parametrize(
    ("batch", "texts"),
    [
        ([[0, 1, 2], [0, 1]], ["3 ids", "4"]),
        ([[0, 1, 2, 3], [0, 5]], ["'own'", "id 5", "[0, 5)"]),
        ([[0, 1, -2, 3], [0, 1]], ["'shared'", "id -2", "[0, 7)"]),
        ([[0, 1, 2, 3]], ["Expected 2 inputs", "got 1"]),
        ([[[0, 1], [2, 3]], [0, 1]], ["rank 1"]),
    ],
)
def test_IntegerBatch_BadInput(tables: Any, batch: Any, texts: list[str]) -> None:
    with raises(errors.InvalidArgumentError, *texts):
        harness.op(
            "EnqueueTPUEmbeddingIntegerBatch",
            batch=[np.array(b, np.int32) for b in batch],
            mode_override="train",
        )


def _lists(first: str, inputs: list[tuple[Any, Any, Any]]) -> dict[str, Any]:
    return {
        first: [np.array(i[0], np.int32) for i in inputs],
        "embedding_indices": [np.array(i[1], np.int32) for i in inputs],
        "aggregation_weights": [np.array(i[2], np.float32) for i in inputs],
        "mode_override": "train",
    }


@pytest.mark.parametrize(
    ("shared", "texts"),
    [
        (([4], [0], []), ["'shared'", "sample index 4", "[0, 4)"]),
        (([-1], [0], []), ["'shared'", "sample index -1", "[0, 4)"]),
        (([0, 1], [0], []), ["'shared'", "2 sample indices for 1 ids"]),
        (([[0, 0]], [0], []), ["'shared'", "rank 1"]),
        (([0], [7], []), ["'shared'", "id 7", "[0, 7)"]),
        (([0], [0], [1, 2]), ["'shared'", "2 weights for 1 ids"]),
    ],
)
def test_SparseBatch_BadInput(tables: Any, shared: Any, texts: list[str]) -> None:
    with raises(errors.InvalidArgumentError, *texts):
        harness.op(
            "EnqueueTPUEmbeddingSparseBatch",
            **_lists("sample_indices", [shared, ([], [], [])]),
        )


_EMPTY = (np.zeros((0, 2)), [], [])


@pytest.mark.parametrize(
    ("inputs", "attrs", "texts"),
    [
        ([_EMPTY] * 3, {"table_ids": [0, 1]}, ["table_ids", "2", "3"]),
        ([_EMPTY] * 3, {"table_ids": [0, 0, 2]}, ["table_id 2", "[0, 2)"]),
        ([_EMPTY] * 3, {"table_ids": [0, 0, -1]}, ["table_id -1", "[0, 2)"]),
        ([_EMPTY] * 2, {"table_ids": [0, 1]}, ["'shared'", "take 1 of its 2"]),
        ([_EMPTY] * 3, {"table_ids": [0, 1, 1]}, ["'own'", "takes 1"]),
        (
            [_EMPTY] * 2,
            {"table_ids": [0, 1], "max_sequence_lengths": [3, 0]},
            ["'shared'", "takes 3"],
        ),
        (
            [_EMPTY] * 2,
            {"table_ids": [0, 1], "max_sequence_lengths": [-1, 0]},
            ["max_sequence_length -1"],
        ),
        (
            [_EMPTY] * 2,
            {"table_ids": [0, 1], "num_features": [0, 1]},
            ["num_features 0"],
        ),
        (
            [_EMPTY] * 2,
            {"table_ids": [0, 1], "num_features": [2]},
            ["Invalid length of num_features. Have 1"],
        ),
        (
            [_EMPTY] * 2,
            {"table_ids": [0, 1], "max_sequence_lengths": [2, 0, 0]},
            ["Invalid length of max_sequence_lengths. Have 3"],
        ),
        (
            [([[2, 0]], [0], []), _EMPTY],
            {"table_ids": [0, 1], "max_sequence_lengths": [2, 0]},
            ["'shared'", "sample index 2", "[0, 2)"],
        ),
        (
            [([[0, -1]], [0], []), _EMPTY],
            {"table_ids": [0, 1], "max_sequence_lengths": [2, 0]},
            ["'shared'", "-1"],
        ),
        (
            [([[0, 0]], [0, 1], []), _EMPTY],
            {"table_ids": [0, 1], "max_sequence_lengths": [2, 0]},
            ["'shared'", "1 sample indices for 2 ids"],
        ),
    ],
)
def test_SparseTensorBatch_BadInput(
    tables: Any, inputs: Any, attrs: Any, texts: list[str]
) -> None:
    with raises(errors.InvalidArgumentError, *texts):
        harness.op(
            "EnqueueTPUEmbeddingSparseTensorBatch",
            **_lists("sample_indices", inputs),
            **attrs,
        )


@pytest.mark.parametrize("op", ["", "Dynamic"])
@pytest.mark.parametrize(
    ("shared", "texts"),
    [
        (([0, 1], [0], []), ["'shared'", "1 ragged rows", "2"]),
        (([1, 1, 1], [0], []), ["'shared'", "begin with 1"]),
        (([0, 2, 1], [0], []), ["'shared'", "decrease from 2 to 1"]),
        (([0, 0, 0], [0], []), ["'shared'", "end with 0", "1 ids"]),
        (([], [0], []), ["'shared'", "empty"]),
        (([0, 1, 1], [9], []), ["'shared'", "id 9"]),
        (([0, 1, 1], [0], [1, 1]), ["'shared'", "2 weights for 1 ids"]),
    ],
)
def test_RaggedTensorBatch_BadInput(
    tables: Any, op: str, shared: Any, texts: list[str]
) -> None:
    ordinal = {"device_ordinal": np.int32(0)} if op else {}
    with raises(errors.InvalidArgumentError, *texts):
        harness.op(
            op + "EnqueueTPUEmbeddingRaggedTensorBatch",
            **_lists("sample_splits", [shared, ([0, 0, 0], [], [])]),
            table_ids=[0, 1],
            max_sequence_lengths=[2, 0],
            **ordinal,
        )
