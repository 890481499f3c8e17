"""The Xla forms of Recv and Send: a ticket ties gradients to their batch."""

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.ops import harness, small_model
from tests.ops.harness import raises

_INVALID = tf.errors.InvalidArgumentError


class _Ops:
    """The ops of one version."""

    def __init__(self, version: str, config: Any):
        self._version = version
        self._attrs = {"config": config.SerializeToString()}
        if version == "V2":
            self._attrs |= {
                "embedding_partitions": b"",
                "hbm_buffers_config": b"",
                "tpu_topology": b"",
            }

    def ticket(self, core: int = 0) -> Any:
        with harness.on_core(core):
            return harness.op(
                f"XlaRecvTPUEmbeddingDeduplicationData{self._version}", **self._attrs
            )

    def recv(self, ticket: Any, num_tables: int = 3) -> Any:
        return harness.op(
            f"XlaRecvTPUEmbeddingActivations{self._version}",
            deduplication_data=ticket,
            num_tables=num_tables,
            **self._attrs,
        )

    def send(
        self,
        ticket: Any,
        gradients: Any = None,
        rates: Any = small_model.LEARNING_RATES,
    ) -> None:
        harness.op(
            f"XlaSendTPUEmbeddingGradients{self._version}",
            gradients=small_model.gradients() if gradients is None else gradients,
            learning_rates=rates,
            deduplication_data=ticket,
            **self._attrs,
        )

    def size(self) -> Any:
        return harness.op(f"ComputeDedupDataSize{self._version}", **self._attrs)

    def mask(self) -> Any:
        return harness.op(f"ComputeDedupDataTupleMask{self._version}", **self._attrs)


@pytest.mark.parametrize("version", ["", "V2"])
def test_StepThroughTheXlaOps(config: Any, version: str) -> None:
    ops = _Ops(version, config)
    small_model.enqueue()
    ticket = ops.ticket()
    assert ticket.dtype == tf.variant and ticket.shape == ()
    for actual, expected in zip(
        ops.recv(ticket), small_model.activations(), strict=True
    ):
        np.testing.assert_array_equal(actual, expected)
    ops.send(ticket)
    small_model.assert_tables(config, small_model.parameters_after(1), rtol=2**-22)


def test_TicketsMaySendInAnotherOrder(config: Any) -> None:
    ops = _Ops("", config)
    second = small_model.arbitrary_inputs()
    second["embedding_indices"][0] = np.full(4, 4, np.int64)
    small_model.enqueue()
    small_model.enqueue(**second)
    tickets = [ops.ticket(), ops.ticket()]
    # Row 4 belongs to the second batch alone.
    ops.send(tickets[0])
    row = small_model.parameters()[0][0][4]
    np.testing.assert_array_equal(harness.retrieve(config, 0)[0][4], row)
    ops.send(tickets[1])
    np.testing.assert_array_equal(harness.retrieve(config, 0)[0][4], row - 4)


def test_SendTwice(config: Any) -> None:
    ops = _Ops("", config)
    small_model.enqueue()
    ticket = ops.ticket()
    ops.send(ticket)
    with raises(tf.errors.FailedPreconditionError, "sent already"):
        ops.send(ticket)


@pytest.mark.parametrize(
    ("gradients", "rates", "texts"),
    [
        (small_model.gradients()[:2], [np.float32(1)], ["Got 2 gradients", "3"]),
        (
            [np.ones((2, 4, 2), np.float32), *small_model.gradients()[1:]],
            [np.float32(1)],
            ["'color'", "[2,4,2]", "[4,2]"],
        ),
        (small_model.gradients(), [], ["Got 0 learning rates", "expects 1"]),
    ],
)
def test_SendOfWrongInputs(
    config: Any, gradients: Any, rates: Any, texts: list[str]
) -> None:
    ops = _Ops("", config)
    small_model.enqueue()
    ticket = ops.ticket()
    with raises(_INVALID, *texts):
        ops.send(ticket, gradients, rates)
    small_model.assert_tables(config, small_model.parameters())
    ops.send(ticket)  # The ticket is still good.
    small_model.assert_tables(config, small_model.parameters_after(1), rtol=2**-22)


def test_ConfigMustBeTheActiveOne(config: Any) -> None:
    small_model.enqueue()
    ticket = _Ops("", config).ticket()
    other = type(config)()
    other.CopyFrom(config)
    other.table_descriptor[1].vocabulary_size = 6
    ops = _Ops("", other)
    for call in (ops.ticket, lambda: ops.recv(ticket), lambda: ops.send(ticket)):
        with raises(_INVALID, "differs from the active one", "vocabulary_size"):
            call()
    small_model.assert_tables(config, small_model.parameters())


def test_SendForInference(config: Any) -> None:
    ops = _Ops("", config)
    small_model.enqueue("inference")
    ticket = ops.ticket()
    with raises(tf.errors.FailedPreconditionError, "inference"):
        ops.send(ticket)
    np.testing.assert_array_equal(ops.recv(ticket)[0], small_model.activations()[0])
    small_model.assert_works(config)


@pytest.mark.parametrize("version", ["", "V2"])
def test_SizeAndMaskAgree(config: Any, version: str) -> None:
    ops = _Ops(version, config)
    mask = ops.mask().numpy()
    assert mask.shape[1] == 2 and set(mask[:, 0]) <= {0, 1}
    assert ops.size().numpy() == mask[:, 1].sum()


def _split(ticket: Any, mask: Any, integer_type: Any, float_type: Any) -> Any:
    return harness.op(
        "SplitDedupData",
        input=ticket,
        integer_type=integer_type.as_datatype_enum,
        float_type=float_type.as_datatype_enum,
        tuple_mask=tf.make_tensor_proto(mask).SerializeToString(),
    )


def _merge(integers: Any, floats: Any, mask: Any) -> Any:
    return harness.op(
        "MergeDedupData",
        integer_tensor=integers,
        float_tensor=floats,
        tuple_mask=tf.make_tensor_proto(mask).SerializeToString(),
    )


@pytest.mark.parametrize("integer_type", [tf.int32, tf.int64, tf.uint32, tf.uint64])
@pytest.mark.parametrize("float_type", [tf.half, tf.bfloat16, tf.float32])
def test_SplitAndMergeAreInverse(
    config: Any, integer_type: Any, float_type: Any
) -> None:
    ops = _Ops("", config)
    for mask in (ops.mask().numpy(), np.array([[1, 2], [0, 3], [1, 1]], np.int32)):
        small_model.enqueue("inference")
        integers, floats = _split(ops.ticket(), mask, integer_type, float_type)
        assert (integers.dtype, floats.dtype) == (integer_type, float_type)
        assert integers.shape == [mask[mask[:, 0] == 0, 1].sum()]
        assert floats.shape == [mask[mask[:, 0] == 1, 1].sum()]
        merged = _merge(integers, floats, mask)
        for actual, expected in zip(
            ops.recv(merged), small_model.activations(), strict=True
        ):
            np.testing.assert_array_equal(actual, expected)


def test_SplitManyTicketsKeepsTheirOrder(config: Any) -> None:
    ops = _Ops("", config)
    mask = ops.mask().numpy()
    parts = []
    for id_ in range(7):
        inputs = small_model.arbitrary_inputs()
        inputs["embedding_indices"][0] = np.full(4, id_, np.int64)
        small_model.enqueue("inference", **inputs)
        parts.append(_split(ops.ticket(), mask, tf.int32, tf.float32))
    for id_ in reversed(range(7)):
        color = ops.recv(_merge(*parts[id_], mask))[0]
        np.testing.assert_array_equal(color[0], [2 * id_, 2 * id_ + 1])


def test_SplitDedupData_BadMask(config: Any) -> None:
    ops = _Ops("", config)
    small_model.enqueue("inference")
    ticket = ops.ticket()
    for mask, texts in (
        (np.ones((2, 3), np.int32), ["Malformed `tuple_mask` attr in SplitDedupData"]),
        (np.ones((2, 2), np.float32), ["Malformed `tuple_mask`"]),
        (np.array([[2, 1]], np.int32), ["type 2"]),
        (np.array([[0, -1]], np.int32), ["span -1"]),
        (np.array([[1, 4]], np.int32), ["no integer"]),
    ):
        with raises(_INVALID, *texts):
            _split(ticket, mask, tf.int32, tf.float32)
    with raises(_INVALID, "Malformed `tuple_mask` attr in SplitDedupData Op."):
        harness.op(
            "SplitDedupData",
            input=ticket,
            integer_type=tf.int32.as_datatype_enum,
            float_type=tf.float32.as_datatype_enum,
            tuple_mask=b"\xff\xff",
        )
    small_model.assert_works(config)


def test_MergeDedupData_BadTensors(config: Any) -> None:
    mask = np.array([[0, 1]], np.int32)
    nothing = np.zeros(0, np.float32)
    with raises(_INVALID, "integer_tensor has shape [2]"):
        _merge(np.zeros(2, np.int32), nothing, mask)
    with raises(_INVALID, "float_tensor has shape [1]"):
        _merge(np.zeros(1, np.int32), np.zeros(1, np.float32), mask)
    with raises(_INVALID, "does not come from SplitDedupData"):
        _merge(np.array([123456], np.int32), nothing, mask)


def test_TicketThatIsNone(config: Any) -> None:
    ops = _Ops("", config)
    other = tf.raw_ops.EmptyTensorList(
        element_shape=tf.constant([], tf.int32),
        max_num_elements=1,
        element_dtype=tf.float32,
    )
    with raises(_INVALID, "deduplication data are not an output of"):
        ops.recv(other)
    with raises(_INVALID, "deduplication data are not an output of"):
        ops.send(other)
    small_model.assert_works(config)


def test_TicketOfAReplacedEngine(config: Any) -> None:
    ops = _Ops("", config)
    small_model.enqueue()
    ticket = ops.ticket()
    harness.configure(config)
    for call in (ops.recv, ops.send):
        with raises(tf.errors.FailedPreconditionError, "replaced"):
            call(ticket)


def test_WrongNumberOfOutputs(config: Any) -> None:
    small_model.enqueue("inference")
    ops = _Ops("", config)
    ticket = ops.ticket()
    with raises(_INVALID, "Kernel has 2 outputs but configuration expects 3 outputs."):
        ops.recv(ticket, num_tables=2)


def test_Spmd_TicketSpeaksForTheReplica() -> None:
    config = small_model.feature_config(num_tensor_cores=4)
    config.spmd_sharding.enabled = True
    config.spmd_sharding.num_cores_per_replica = 2
    small_model.configured(config)
    for core in range(4):
        small_model.enqueue("inference", device_ordinal=core)
    ops = _Ops("", config)
    assert ops.size().numpy() == 2
    mask = ops.mask().numpy()
    for first in (0, 2):
        ticket = ops.ticket(first)
        merged = _merge(*_split(ticket, mask, tf.int32, tf.float32), mask)
        assert ops.recv(merged)[0].shape == (8, 2)
    with raises(_INVALID, "span 1", "divisible by 2"):
        harness.op(
            "MergeDedupData",
            integer_tensor=np.zeros(1, np.int32),
            float_tensor=np.zeros(0, np.float32),
            tuple_mask=tf.make_tensor_proto(
                np.array([[0, 1]], np.int32)
            ).SerializeToString(),
            config=config.SerializeToString(),
        )
