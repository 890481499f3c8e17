"""Enqueue, Recv and Send as a protocol: order, modes, cores, waiting, errors."""

import threading
import time
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.ops import harness, small_model
from tests.ops.harness import raises

errors = tf.errors


def _send(config: Any, core: int = 0, value: float = 1.0) -> None:
    harness.send(config, small_model.gradients(value), small_model.LEARNING_RATES, core)


def _weights(config: Any) -> float:
    """One number that each step with small_model's inputs lowers by 1."""
    return float(harness.retrieve(config, 0)[0][0, 0])


# One core.


def test_StepUpdatesEachTouchedRowOnce(config: Any) -> None:
    for steps in (1, 2, 3):
        small_model.enqueue()
        harness.recv(config)
        _send(config)
        small_model.assert_tables(
            config, small_model.parameters_after(steps), rtol=2**-22
        )


def test_ActivationsAreExactRows(config: Any) -> None:
    small_model.assert_works(config)


def test_DuplicateIdsAreSummedBeforeAdagrad(config: Any) -> None:
    inputs = small_model.arbitrary_inputs()
    inputs["embedding_indices"][2] = np.array([2, 2, 2], np.int64)
    small_model.enqueue(**inputs)
    harness.recv(config)
    _send(config)
    own, accumulators = harness.retrieve(config, 1)
    # 0.25 + (1 + 1 + 1)^2, not 0.25 + 3 * 1^2.
    np.testing.assert_array_equal(accumulators[2], [9.25] * 3)
    np.testing.assert_allclose(
        own[2], small_model.parameters()[1][0][2] - 0.5 * 3 / np.sqrt(9.25), rtol=2**-22
    )


def test_GradientZeroStillTouchesTheRow() -> None:
    config = small_model.feature_config()
    config.table_descriptor[0].optimization_parameters.weight_decay_factor = 0.5
    small_model.configured(config)
    small_model.enqueue()
    harness.recv(config)
    _send(config, value=0.0)
    expected = small_model.parameters()[0][0]
    expected[[0, 1, 2, 3, 5, 6]] *= 0.5
    np.testing.assert_array_equal(harness.retrieve(config, 0)[0], expected)


def test_BatchesComeInOrder(config: Any) -> None:
    for id_ in (3, 1, 4):
        inputs = small_model.arbitrary_inputs()
        inputs["embedding_indices"][0] = np.full(4, id_, np.int64)
        small_model.enqueue("inference", **inputs)
    for id_ in (3, 1, 4):
        np.testing.assert_array_equal(
            harness.recv(config)[0][0], [2 * id_, 2 * id_ + 1]
        )


def test_LookupHappensAtRecvAndSeesEarlierUpdates(config: Any) -> None:
    small_model.enqueue()
    small_model.enqueue()
    before = harness.recv(config)[0].numpy()
    _send(config)
    np.testing.assert_array_equal(harness.recv(config)[0], before - 1)


def test_TwoBatchesMayWaitForGradients_OldestFirst(config: Any) -> None:
    inputs = small_model.arbitrary_inputs()
    inputs["embedding_indices"][0] = np.full(4, 4, np.int64)
    small_model.enqueue()
    small_model.enqueue(**inputs)
    harness.recv(config)
    harness.recv(config)
    _send(config)
    # Row 4 belongs to the second batch alone.
    np.testing.assert_array_equal(
        harness.retrieve(config, 0)[0][4], small_model.parameters()[0][0][4]
    )
    _send(config)
    np.testing.assert_array_equal(
        harness.retrieve(config, 0)[0][4], small_model.parameters()[0][0][4] - 4
    )


def _step_function(config: Any) -> Any:
    """A step that fails between Recv and Send where it is not given `good`."""

    @tf.function
    def step(good: tf.Tensor) -> tf.Tensor:
        activations = harness.recv(config)
        with tf.control_dependencies(activations):
            check = tf.debugging.Assert(good, ["bad"])
        with tf.control_dependencies([check]):
            _send(config)
        return activations[0]

    return step


def test_StepThatFailedIsNotMistakenForTheNext(config: Any) -> None:
    step = _step_function(config)
    small_model.enqueue()
    step(True)
    small_model.enqueue()
    with raises(errors.InvalidArgumentError, "bad"):
        step(False)
    small_model.enqueue()
    with raises(
        errors.FailedPreconditionError, "training batch 1", "discard_batches()"
    ):
        step(True)
    small_model.enqueue()
    assert harness.library().TfEmbed_DiscardBatches() == 3
    small_model.enqueue()
    before = small_model.activations()[0]
    np.testing.assert_array_equal(step(True), before - 1)
    small_model.assert_tables(config, small_model.parameters_after(2), rtol=2**-22)


def test_InferenceBatchesMayComeBetween(config: Any) -> None:
    small_model.enqueue("train")
    harness.recv(config)
    small_model.enqueue("inference")
    harness.recv(config)
    _send(config)
    small_model.assert_tables(config, small_model.parameters_after(1), rtol=2**-22)


def test_BackwardPassOnlyNeedsNoRecv(config: Any) -> None:
    small_model.enqueue("backward_pass_only")
    _send(config)
    small_model.assert_tables(config, small_model.parameters_after(1), rtol=2**-22)


def test_ConfiguredModeHoldsForUnspecified() -> None:
    config = small_model.feature_config()
    config.mode = config.INFERENCE
    small_model.configured(config)
    small_model.enqueue("unspecified")
    harness.recv(config)
    with raises(errors.FailedPreconditionError, "inference"):
        _send(config)
    small_model.enqueue("train")
    harness.recv(config)
    _send(config)
    small_model.assert_tables(config, small_model.parameters_after(1), rtol=2**-22)


def test_PipeliningIsStaleByExactlyOneStep() -> None:
    config = small_model.configured(
        small_model.feature_config(pipeline_execution_with_tensor_core=True)
    )
    seen = []
    for _ in range(4):
        small_model.enqueue()
        seen.append(float(harness.recv(config)[0][0, 0]))
        _send(config)
    assert seen == [0, 0, -1, -2]
    assert _weights(config) == -4  # Retrieve sees all.


# Errors.


def test_Recv_WithoutEngine() -> None:
    with raises(
        errors.FailedPreconditionError,
        "TPU embedding engine is not configured; run ConfigureTPUEmbedding first",
    ):
        harness.recv(small_model.feature_config())


def test_Send_WithoutEngine() -> None:
    with raises(errors.FailedPreconditionError, "not configured"):
        _send(small_model.feature_config())


def test_Enqueue_WithoutEngine() -> None:
    with raises(errors.FailedPreconditionError, "not configured"):
        small_model.enqueue()


def test_Send_WithoutBatch(config: Any) -> None:
    with raises(errors.FailedPreconditionError, "Core 0", "awaits gradients"):
        _send(config)
    small_model.assert_works(config)


def test_Send_ForInferenceBatch(config: Any) -> None:
    small_model.enqueue("inference")
    harness.recv(config)
    with raises(errors.FailedPreconditionError, "inference"):
        _send(config)
    small_model.assert_works(config)


def test_Recv_OfBackwardPassOnly(config: Any) -> None:
    small_model.enqueue("backward_pass_only")
    with raises(errors.FailedPreconditionError, "backward_pass_only"):
        harness.recv(config)
    _send(config)
    small_model.assert_tables(config, small_model.parameters_after(1), rtol=2**-22)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda c: c.table_descriptor[0].__setattr__("dimension", 4), "dimension"),
        (lambda c: c.table_descriptor[1].__setattr__("name", "other"), "other"),
        (lambda c: c.feature_descriptor[0].input_shape.append(2), "input_shape"),
        (lambda c: c.__setattr__("num_tensor_cores", 2), "num_tensor_cores"),
        (lambda c: c.__setattr__("mode", c.INFERENCE), "mode"),
        (lambda c: c.__setattr__("sharding_strategy", c.MOD), "sharding_strategy"),
    ],
)
def test_ConfigOfOpMustBeTheActiveOne(config: Any, change: Any, text: str) -> None:
    other = type(config)()
    other.CopyFrom(config)
    change(other)
    for call in (harness.recv, _send):
        with raises(errors.InvalidArgumentError, "differs from the active one", text):
            call(other)
    small_model.assert_works(config)


def test_ConfigMayDifferInFeatureNamesAndProfileDirectory(config: Any) -> None:
    other = type(config)()
    other.CopyFrom(config)
    other.feature_descriptor[0].name = "colour"
    other.profile_data_directory = "somewhere"
    small_model.enqueue("inference")
    harness.recv(other)


def test_Recv_UnparsableConfig(config: Any) -> None:
    with raises(
        errors.InvalidArgumentError,
        "Failed to parse TPUEmbeddingConfiguration proto from config attr",
    ):
        harness.op("RecvTPUEmbeddingActivations", num_outputs=3, config=b"\xff\xff")
    with raises(errors.InvalidArgumentError, "TPU embedding config is empty."):
        harness.op("RecvTPUEmbeddingActivations", num_outputs=3, config="")
    small_model.assert_works(config)


def test_Recv_WrongNumberOfOutputs(config: Any) -> None:
    with raises(
        errors.InvalidArgumentError,
        "Kernel has 2 outputs but configuration expects 3 outputs.",
    ):
        harness.op(
            "RecvTPUEmbeddingActivations",
            num_outputs=2,
            config=config.SerializeToString(),
        )
    small_model.assert_works(config)


def _wrong_shape(f: int, shape: list[int]) -> list[np.ndarray]:
    gradients = small_model.gradients()
    gradients[f] = np.ones(shape, np.float32)
    return gradients


@pytest.mark.parametrize(
    ("gradients", "rates", "texts"),
    [
        (
            small_model.gradients()[:2],
            small_model.LEARNING_RATES,
            ["Got 2 gradients", "expects 3"],
        ),
        (
            _wrong_shape(1, [2, 3, 3]),
            small_model.LEARNING_RATES,
            ["'words'", "'shared'", "[2,3,3]", "[2,3,2]"],
        ),
        (
            _wrong_shape(2, [12]),
            small_model.LEARNING_RATES,
            ["'user'", "'own'", "[12]", "[4,3]"],
        ),
        (small_model.gradients(), [], ["Got 0 learning rates", "expects 1"]),
        (
            small_model.gradients(),
            [np.float32(1), np.float32(1)],
            ["Got 2 learning rates", "expects 1"],
        ),
        (
            small_model.gradients(),
            [np.ones(1, np.float32)],
            ["Learning rate 0", "scalar", "[1]"],
        ),
    ],
)
def test_Send_WrongInputs(
    config: Any, gradients: Any, rates: Any, texts: list[str]
) -> None:
    small_model.enqueue()
    harness.recv(config)
    with raises(errors.InvalidArgumentError, *texts):
        harness.send(config, gradients, rates)
    small_model.assert_tables(config, small_model.parameters())
    # The batch still waits for its gradients.
    _send(config)
    small_model.assert_tables(config, small_model.parameters_after(1), rtol=2**-22)


def test_Send_OptimizerWhoseUpdateIsNotPublic() -> None:
    config = small_model.feature_config()
    parameters = config.table_descriptor[1].optimization_parameters
    parameters.mdl_adagrad_light.SetInParent()
    harness.configure(config)
    small_model.enqueue()
    harness.recv(config)
    with raises(errors.UnimplementedError, "MDLAdagradLight", "'own'"):
        _send(config)


# Waiting.


def _in_thread(function: Any) -> tuple[threading.Thread, list[Any]]:
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(function())
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, result


def test_Recv_WaitsForItsBatch(config: Any) -> None:
    thread, result = _in_thread(lambda: harness.recv(config))
    time.sleep(0.1)
    assert thread.is_alive()
    small_model.enqueue("inference")
    thread.join(30)
    for actual, expected in zip(result[0], small_model.activations(), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("how", ["shut down", "configure again"])
def test_Recv_ThatWaitsIsAbortedWhenTheEngineGoes(config: Any, how: str) -> None:
    thread, result = _in_thread(lambda: harness.recv(config))
    time.sleep(0.1)
    if how == "shut down":
        small_model.tear_down()
    else:
        harness.configure(config)
    thread.join(30)
    assert isinstance(result[0], errors.AbortedError), result
    assert how.replace("configure", "configured") in str(result[0])


def test_Recv_HonoursCancellation(config: Any) -> None:
    graph = tf.Graph()
    with graph.as_default():
        outputs = harness.recv(config)
    session = tf.compat.v1.Session(graph=graph)
    thread, result = _in_thread(lambda: session.run(outputs))
    time.sleep(0.2)
    assert thread.is_alive()
    session.close()
    thread.join(30)
    assert isinstance(result[0], errors.CancelledError), result
    small_model.assert_works(config)


def test_Recv_TimeLimit() -> None:
    config = small_model.configured(small_model.feature_config(num_tensor_cores=4))
    library = harness.library()
    library.TfEmbed_SetRecvTimeoutSeconds(0.05)
    try:
        assert library.TfEmbed_RecvTimeoutSeconds() == 0.05
        with raises(errors.DeadlineExceededError, "ore 3"):
            harness.recv(config, core=3)
    finally:
        library.TfEmbed_SetRecvTimeoutSeconds(0)
    assert library.TfEmbed_RecvTimeoutSeconds() == 0
    small_model.assert_works(config, core=3)


# Several cores.


def test_UpdateIsJointAndWaitsForTheLastCore() -> None:
    config = small_model.configured(small_model.feature_config(num_tensor_cores=3))
    for core in range(3):
        small_model.enqueue(device_ordinal=core)
        harness.recv(config, core)
    for core in (2, 0):
        _send(config, core)
        small_model.assert_tables(config, small_model.parameters())
    _send(config, 1)
    small_model.assert_tables(
        config, small_model.parameters_after(1, num_cores=3), rtol=2**-22
    )


def test_CoresRunInThreadsOfTheirOwn() -> None:
    num_cores, steps = 8, 40
    config = small_model.configured(
        small_model.feature_config(num_tensor_cores=num_cores)
    )

    def run(core: int) -> list[float]:
        seen = []
        for _ in range(steps):
            small_model.enqueue(device_ordinal=core)
            seen.append(float(harness.recv(config, core)[0][0, 0]))
            _send(config, core)
        return seen

    threads = [_in_thread(lambda core=core: run(core)) for core in range(num_cores)]
    for thread, result in threads:
        thread.join(120)
        # Each step sees all cores' updates of the steps before.
        assert result == [[-float(num_cores * step) for step in range(steps)]]
    shared = small_model.parameters()[0][0]
    shared[[0, 1, 2, 3, 5, 6]] -= num_cores * steps
    np.testing.assert_array_equal(harness.retrieve(config, 0)[0], shared)


def test_Recv_OnDeviceWithoutCore() -> None:
    config = small_model.configured(small_model.feature_config(num_tensor_cores=2))
    with raises(errors.InvalidArgumentError, "CPU:5", "num_tensor_cores = 2", "[0, 2)"):
        harness.recv(config, core=5)


def test_OneCoreIsServedFromAnyDevice(config: Any) -> None:
    small_model.enqueue("inference")
    for actual, expected in zip(
        harness.recv(config, core=6), small_model.activations(), strict=True
    ):
        np.testing.assert_array_equal(actual, expected)


def _spmd_config() -> Any:
    config = small_model.feature_config(num_tensor_cores=4)
    config.spmd_sharding.enabled = True
    config.spmd_sharding.num_cores_per_replica = 2
    return small_model.configured(config)


def test_Spmd_OneOpSpeaksForAllCoresOfItsReplica() -> None:
    config = _spmd_config()
    for core in range(4):
        inputs = small_model.arbitrary_inputs()
        inputs["embedding_indices"][0] = np.full(4, core, np.int64)
        small_model.enqueue("train", device_ordinal=core, **inputs)
    for first in (0, 2):
        color, words, user = harness.recv(config, first)
        assert (color.shape, words.shape, user.shape) == ((8, 2), (4, 3, 2), (8, 3))
        np.testing.assert_array_equal(
            color[:, 0], np.repeat([2 * first, 2 * first + 2], 4)
        )
    for first in (0, 2):
        harness.send(
            config,
            small_model.gradients(num_cores=2),
            small_model.LEARNING_RATES,
            first,
        )
    shared = harness.retrieve(config, 0)[0]
    # Rows 0 to 3: four positions on one core each. Rows 5, 6: one on each core.
    expected = small_model.parameters()[0][0]
    expected[[0, 1, 2, 3, 5, 6]] -= 4
    np.testing.assert_array_equal(shared, expected)


def test_Spmd_DeviceInTheMiddleOfAReplica() -> None:
    config = _spmd_config()
    with raises(
        errors.InvalidArgumentError, "CPU:1", "multiples of num_cores_per_replica, 2"
    ):
        harness.recv(config, 1)


def test_Spmd_ManualPartitioningHasOneOpPerCore() -> None:
    config = small_model.feature_config(num_tensor_cores=2)
    config.spmd_sharding.enabled = True
    config.spmd_sharding.num_cores_per_replica = 2
    config.spmd_sharding.use_manual_partitioning = True
    small_model.configured(config)
    small_model.enqueue("inference", device_ordinal=1)
    assert harness.recv(config, 1)[0].shape == (4, 2)
