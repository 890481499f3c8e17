"""The ops in tf.function and in TensorFlow 1 graphs with sessions."""

import os
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.ops import harness, small_model
from tests.ops.harness import raises

v1 = tf.compat.v1


def _step(config: Any) -> Any:
    small_model.enqueue()
    activations = harness.recv(config)
    with tf.control_dependencies(activations):
        harness.send(config, small_model.gradients(), small_model.LEARNING_RATES)
    return activations


# tf.function.


def test_Function_Step(config: Any) -> None:
    step = tf.function(lambda: _step(config))
    for steps in (1, 2, 3):
        first = step()
        np.testing.assert_array_equal(
            first[0], small_model.activations()[0] - (steps - 1)
        )
        small_model.assert_tables(
            config, small_model.parameters_after(steps), rtol=2**-22
        )


def test_Function_WholeLifeInOneGraph() -> None:
    config = small_model.feature_config()

    @tf.function
    def life() -> Any:
        # Enqueue ops have no automatic edge from anything.
        with tf.control_dependencies([harness.configure(config)]):
            small_model.load(config)
            _step(config)
        return harness.op(
            "RetrieveTPUEmbeddingAdagradParameters",
            table_name="own",
            num_shards=1,
            shard_id=0,
        )

    own, accumulators = life()
    expected = small_model.parameters_after(1)[1]
    np.testing.assert_allclose(own, expected[0], rtol=2**-22)
    np.testing.assert_array_equal(accumulators, expected[1])


def test_Function_ShapesAreKnownWhenTraced(config: Any) -> None:
    shapes = []

    @tf.function
    def lookup() -> None:
        small_model.enqueue("inference")
        shapes.extend(a.shape.as_list() for a in harness.recv(config))

    lookup()
    assert shapes == [[4, 2], [2, 3, 2], [4, 3]]


def test_Function_LoopKeepsTheOrderOfSteps(config: Any) -> None:
    ids = tf.constant([[i] * 4 for i in (3, 1, 4, 1, 5)], tf.int64)
    inputs = tf.nest.map_structure(tf.constant, small_model.arbitrary_inputs())

    @tf.function
    def loop() -> Any:
        seen = tf.TensorArray(tf.float32, size=5)
        for i in tf.range(5):
            values = dict(inputs)
            values["embedding_indices"] = [ids[i], *inputs["embedding_indices"][1:]]
            tf.raw_ops.EnqueueTPUEmbeddingArbitraryTensorBatch(
                **values, mode_override="inference", device_ordinal=0
            )
            seen = seen.write(i, harness.recv(config)[0][0, 0])
        return seen.stack()

    np.testing.assert_array_equal(loop(), [6, 2, 8, 2, 10])


def test_Function_EnqueueIsNotOrderedAfterRecv_AndRecvWaits(config: Any) -> None:
    """There is no edge between them: the graph may start Recv first."""

    @tf.function
    def lookup() -> Any:
        activations = harness.recv(config)
        small_model.enqueue("inference")
        return activations

    for _ in range(20):
        np.testing.assert_array_equal(lookup()[0], small_model.activations()[0])


def test_Function_ErrorNamesTheOp(config: Any) -> None:
    inputs = small_model.arbitrary_inputs()
    inputs["embedding_indices"][0] = np.array([0, 1, 2, 99], np.int64)

    @tf.function
    def bad() -> None:
        small_model.enqueue(**inputs)

    with raises(tf.errors.InvalidArgumentError, "'color'", "id 99", "[0, 7)"):
        bad()
    small_model.assert_works(config)


def test_Function_CoresOfSeveralDevices() -> None:
    config = small_model.configured(small_model.feature_config(num_tensor_cores=8))

    @tf.function
    def step() -> None:
        for core in range(8):
            small_model.enqueue(device_ordinal=core)
            activations = harness.recv(config, core)
            with tf.control_dependencies(activations):
                harness.send(
                    config, small_model.gradients(), small_model.LEARNING_RATES, core
                )

    for steps in (1, 2):
        step()
        small_model.assert_tables(
            config, small_model.parameters_after(steps, num_cores=8), rtol=2**-21
        )


def test_Function_XlaOpsMakeAStep(config: Any) -> None:
    serialized = config.SerializeToString()

    @tf.function
    def step() -> Any:
        small_model.enqueue()
        ticket = harness.op("XlaRecvTPUEmbeddingDeduplicationData", config=serialized)
        activations = harness.op(
            "XlaRecvTPUEmbeddingActivations",
            deduplication_data=ticket,
            num_tables=3,
            config=serialized,
        )
        with tf.control_dependencies(activations):
            harness.op(
                "XlaSendTPUEmbeddingGradients",
                gradients=small_model.gradients(),
                learning_rates=small_model.LEARNING_RATES,
                deduplication_data=ticket,
                config=serialized,
            )
        return activations

    np.testing.assert_array_equal(step()[0], small_model.activations()[0])
    small_model.assert_tables(config, small_model.parameters_after(1), rtol=2**-22)


# TensorFlow 1.


def test_Session_TrainsAndReads(config: Any) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        enqueue = small_model.enqueue()
        activations = harness.recv(config)
        # Constant gradients would not depend on the activations by themselves.
        with tf.control_dependencies(activations):
            send = harness.send(
                config,
                small_model.gradients(),
                [v1.placeholder_with_default(np.float32(0.5), [])],
            )
        retrieve = harness.op(
            "RetrieveTPUEmbeddingAdagradParameters",
            table_id=1,
            num_shards=1,
            shard_id=0,
        )
        for steps in (1, 2):
            session.run([enqueue, send])
            own, accumulators = session.run(retrieve)
            expected = small_model.parameters_after(steps)[1]
            np.testing.assert_allclose(own, expected[0], rtol=2**-22)
            np.testing.assert_array_equal(accumulators, expected[1])


def test_Session_ConfigureIsPlacedSoftly() -> None:
    config = small_model.feature_config()
    soft = v1.ConfigProto(allow_soft_placement=True)
    with tf.Graph().as_default(), v1.Session(config=soft) as session:
        with tf.device("/device:TPU_SYSTEM:0"):
            configure = harness.op(
                "ConfigureTPUEmbedding", config=config.SerializeToString()
            )
        session.run(configure)
    small_model.load(config)
    small_model.assert_works(config)


def test_Session_StringBatchIsUnimplemented(config: Any) -> None:
    with tf.Graph().as_default(), v1.Session() as session:
        op = harness.op(
            "EnqueueTPUEmbeddingBatch", batch=["", ""], mode_override="unspecified"
        )
        with raises(tf.errors.UnimplementedError, "not public"):
            session.run(op)


def test_Activations_IsTheIdentityOfTheSecondInput() -> None:
    variable, sliced = tf.zeros([1]), tf.constant([[1.0, 2.0], [3.0, 4.0]])

    def call() -> Any:
        return tf.raw_ops.TPUEmbeddingActivations(
            embedding_variable=variable,
            sliced_activations=sliced,
            table_id=0,
            lookup_id=0,
        )

    np.testing.assert_array_equal(call(), sliced)
    np.testing.assert_array_equal(tf.function(call)(), sliced)


# The texts of the stock shape functions, which a graph meets before a kernel.


@pytest.mark.parametrize(
    ("num_outputs", "config_bytes", "text"),
    [
        (3, b"\xff\xff", "Malformed tpu_embedding_config."),
        (2, None, "num outputs != size of output shapes"),
        (3, b"", "num outputs != size of output shapes"),
    ],
)
def test_Graph_RecvIsCheckedWhenBuilt(
    num_outputs: int, config_bytes: bytes | None, text: str
) -> None:
    if config_bytes is None:
        config_bytes = small_model.feature_config().SerializeToString()
    with tf.Graph().as_default(), raises(ValueError, text):
        harness.op(
            "RecvTPUEmbeddingActivations",
            num_outputs=num_outputs,
            config=config_bytes,
        )


# Small pools: a Recv that waits must not hold the only thread.


_ONE_THREAD = """
    import tensorflow as tf
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    from tests.ops import harness, small_model
    v1 = tf.compat.v1
    for num_cores in (1, 4):
        config = small_model.configured(
            small_model.feature_config(num_tensor_cores=num_cores))
        options = v1.ConfigProto(
            inter_op_parallelism_threads=1, intra_op_parallelism_threads=1,
            use_per_session_threads=True, device_count={"CPU": num_cores})
        with tf.Graph().as_default(), v1.Session(config=options) as session:
            received = [harness.recv(config, core) for core in range(num_cores)]
            # Enqueue as late as the scheduler can be made to.
            late = tf.constant(0.0)
            for _ in range(50):
                late = tf.identity(late + 1)
            with tf.control_dependencies([late]):
                enqueues = [
                    small_model.enqueue("inference", device_ordinal=core)
                    for core in range(num_cores)]
            for _ in range(5):
                session.run([received, enqueues])
    print("finished")
"""


def test_Recv_DoesNotHoldTheOnlyThread() -> None:
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_ONE_THREAD)],
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ,
        check=False,
    )
    assert "finished" in result.stdout, result.stderr[-2000:]
