"""Recv and Send inside compiled functions: the CPU kernels' numbers, and errors."""

import concurrent.futures
import time

import numpy as np
import pytest
import tensorflow as tf

import tf_embed
from tests.ops import harness, small_model
from tests.reference import cases
from tests.reference.engine import Engine
from tests.reference.interval import outside


@pytest.fixture(autouse=True)
def no_engine_is_left():
    yield
    small_model.tear_down()


def compiled(function):
    """The function as one XLA program; an op without outputs returns nothing."""

    def call(*args):
        result = function(*args)
        return None if isinstance(result, tf.Operation) else result

    return tf.function(call, jit_compile=True, autograph=False)


@pytest.mark.parametrize("seed", range(12))
def test_RandomTrainingAgreesWithTheReference(seed):
    rng = np.random.default_rng(seed)
    config = cases.random_config(rng, feature_dialect=bool(seed % 2))
    engine = Engine(config)
    harness.configure(config)
    states = [cases.random_state(rng, table) for table in config.table_descriptor]
    harness.load_all(config, states)
    for t, state in enumerate(states):
        engine.load(t, state)

    # One program for each core, as its device says.
    receivers, senders = [], []
    for core in range(engine.num_cores):
        receivers.append(compiled(lambda core=core: harness.recv(config, core)))
        senders.append(
            compiled(
                lambda gradients, rates, core=core: harness.send(
                    config, gradients, rates, core
                )
            )
        )
    for _ in range(2):
        for core in range(engine.num_cores):
            op, kwargs = cases.random_inputs(rng, config, "train")
            engine.enqueue(core, op, kwargs)
            harness.op(op, **kwargs, device_ordinal=core)
        for core in range(engine.num_cores):
            actual = receivers[core]()
            for f, expected in enumerate(engine.recv(core)):
                wrong = outside(actual[f].numpy(), expected)
                assert not wrong.any(), f"seed {seed} core {core} feature {f}"
        _, rates = cases.random_gradients(rng, config)
        for core in range(engine.num_cores):
            gradients, _ = cases.random_gradients(rng, config)
            engine.send(core, gradients, rates)
            senders[core]([tf.constant(g) for g in gradients],
                          [tf.constant(r) for r in rates])  # fmt: skip
    engine.flush()
    for t, values in enumerate(harness.tables_of(config)):
        for i, value in enumerate(values):
            wrong = outside(value, engine.state[t][i])
            assert not wrong.any(), f"seed {seed} table {t} variable {i}"


def _step(config):
    activations = harness.recv(config)
    harness.send(config, small_model.gradients(), small_model.LEARNING_RATES)
    return activations


def test_StepOfOneProgramReceivesAndUpdates():
    config = small_model.configured(small_model.feature_config())
    small_model.enqueue("train")
    for actual, expected in zip(
        compiled(lambda: _step(config))(), small_model.activations(), strict=True
    ):
        np.testing.assert_array_equal(actual, expected)
    small_model.assert_tables(config, small_model.parameters_after(1), rtol=1e-6)


def test_ProfilerShowsTheStagesOfAProgram(tmp_path):
    config = small_model.configured(small_model.feature_config())
    step = compiled(lambda: _step(config))
    for _ in range(2):
        small_model.enqueue("train")
    step()  # compiles, and is not looked at
    tf.profiler.experimental.start(str(tmp_path))
    step()
    tf.profiler.experimental.stop()
    (trace,) = tmp_path.rglob("*.xplane.pb")
    for span in (b"TfEmbedLookup", b"TfEmbedSendGradients"):
        assert span in trace.read_bytes(), span


def test_StepsInOneProgramRunInOrder():
    # No data lead from one step's Send to the next one's Recv.
    config = small_model.configured(small_model.feature_config())
    num_steps = 8
    for _ in range(num_steps):
        small_model.enqueue("train")

    @compiled
    def steps():
        return [_step(config)[0] for _ in range(num_steps)]

    for i, color in enumerate(steps()):
        np.testing.assert_array_equal(
            color, small_model.parameters_after(i)[0][0][[0, 1, 2, 3]]
        )


def _loop(config, num_steps):
    """Steps in a loop; what each has received, [num_steps, 4, 2]."""
    return tf.while_loop(
        lambda i, _: i < num_steps,
        lambda i, seen: (i + 1, seen.write(i, _step(config)[0])),
        (0, tf.TensorArray(tf.float32, num_steps, element_shape=[4, 2])),
    )[1].stack()


def test_StepsOfALoopRunInOrder():
    config = small_model.configured(small_model.feature_config())
    num_steps = 6
    for _ in range(num_steps):
        small_model.enqueue("train")

    for i, color in enumerate(compiled(lambda: _loop(config, num_steps))()):
        np.testing.assert_array_equal(
            color, small_model.parameters_after(i)[0][0][[0, 1, 2, 3]]
        )
    small_model.assert_tables(
        config, small_model.parameters_after(num_steps), rtol=1e-5
    )


def test_OnlyTheBranchThatIsTakenReceives():
    config = small_model.configured(small_model.feature_config())
    small_model.enqueue("train")

    @compiled
    def maybe(receive):
        return tf.cond(
            receive,
            lambda: _step(config)[0],
            lambda: -tf.ones([4, 2]),
        )

    np.testing.assert_array_equal(maybe(tf.constant(False)), -np.ones([4, 2]))
    small_model.assert_tables(config, small_model.parameters())
    np.testing.assert_array_equal(
        maybe(tf.constant(True)), small_model.activations()[0]
    )
    small_model.assert_tables(config, small_model.parameters_after(1), rtol=1e-6)


def _if(chosen, then):
    return tf.cond(chosen, then, lambda: tf.constant(1))


def _case(chosen, then):
    index = tf.cast(chosen, tf.int32)
    return tf.switch_case(index, [lambda: tf.constant(1), then])


@pytest.mark.parametrize("conditional", [_if, _case])
@pytest.mark.parametrize("in_loop", [False, True])
def test_ConditionalSendsRunInOrderWithTheReceivesAroundThem(conditional, in_loop):
    # No data lead to a conditional or from it: both branches give the same.
    config = small_model.configured(small_model.feature_config())
    num_steps = 5
    for _ in range(num_steps):
        small_model.enqueue("train")

    def step(chosen):
        color = harness.recv(config)[0]

        def send():
            harness.send(config, small_model.gradients(), small_model.LEARNING_RATES)
            return tf.constant(1)

        # One in another.
        conditional(chosen, lambda: conditional(chosen, send))
        return color

    @compiled
    def steps(chosen):
        if not in_loop:
            return [step(chosen) for _ in range(num_steps)]
        return tf.map_fn(
            lambda _: step(chosen), tf.zeros([num_steps]), parallel_iterations=1
        )

    for i, color in enumerate(steps(tf.constant(True))):
        np.testing.assert_array_equal(
            color, small_model.parameters_after(i)[0][0][[0, 1, 2, 3]]
        )


@pytest.mark.parametrize("num_iterations", [1, 2])
def test_LoopsRunInOrderWithTheStepsAroundThem(num_iterations):
    config = small_model.configured(small_model.feature_config())

    @compiled
    def steps():
        parts = []
        for _ in range(3):
            parts += [_loop(config, num_iterations), _step(config)[0][None]]
        return tf.concat(parts, 0)

    for _ in range(3 * (num_iterations + 1)):
        small_model.enqueue("train")
    for i, color in enumerate(steps()):
        np.testing.assert_array_equal(
            color, small_model.parameters_after(i)[0][0][[0, 1, 2, 3]]
        )


def test_WhatFollowsAConditionalWithoutResultsIsRefused():
    config = small_model.configured(small_model.feature_config())

    def step(chosen):
        activations = harness.recv(config)

        def send():
            harness.send(config, small_model.gradients(), small_model.LEARNING_RATES)

        tf.cond(chosen, send, lambda: None)
        return activations

    small_model.enqueue("train")
    compiled(step)(tf.constant(True))  # nothing follows
    small_model.assert_tables(config, small_model.parameters_after(1), rtol=1e-6)
    with harness.raises(
        tf.errors.UnimplementedError,
        "RecvTPUEmbeddingActivations comes after a conditional or loop",
    ):
        compiled(lambda chosen: [step(chosen), step(chosen)])(tf.constant(True))


def test_ProgramWaitsForItsBatch():
    config = small_model.configured(small_model.feature_config())
    receive = compiled(lambda: harness.recv(config))
    small_model.enqueue("inference")
    receive()  # compiles
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        result = pool.submit(receive)
        time.sleep(0.2)
        assert not result.done()
        small_model.enqueue("inference")
        for actual, expected in zip(
            result.result(timeout=60), small_model.activations(), strict=True
        ):
            np.testing.assert_array_equal(actual, expected)


def test_ProgramThatWaitsEndsWhenTheEngineIsTornDown():
    config = small_model.configured(small_model.feature_config())
    receive = compiled(lambda: harness.recv(config))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        result = pool.submit(receive)
        time.sleep(1.0)
        small_model.tear_down()
        with pytest.raises(tf.errors.AbortedError):
            result.result(timeout=60)


def test_EngineErrorsReachTheCallerWithTheirStatus():
    config = small_model.feature_config()
    receive = compiled(lambda: harness.recv(config))
    with harness.raises(tf.errors.FailedPreconditionError, "not configured"):
        receive()
    small_model.configured(config)
    send = compiled(
        lambda: harness.send(
            config, small_model.gradients(), small_model.LEARNING_RATES
        )
    )
    with harness.raises(tf.errors.FailedPreconditionError, "Core 0 has no received"):
        send()  # nothing was received
    other = small_model.feature_config()
    other.table_descriptor[0].vocabulary_size += 1
    with harness.raises(tf.errors.InvalidArgumentError, "vocabulary_size"):
        compiled(lambda: harness.recv(other))()
    small_model.assert_works(config)


def test_WrongGradientShapeIsRefusedWhenTheProgramIsCompiled():
    config = small_model.configured(small_model.feature_config())
    gradients = small_model.gradients()
    gradients[1] = gradients[1][:1]
    with harness.raises(
        tf.errors.InvalidArgumentError,
        "gradient of feature 1 'words'", "[1,3,2]", "expected [2,3,2]",
    ):  # fmt: skip
        compiled(lambda: harness.send(config, gradients, small_model.LEARNING_RATES))()


def test_CoreThatDoesNotExistIsRefused():
    config = small_model.configured(small_model.feature_config(num_tensor_cores=2))
    with harness.raises(tf.errors.InvalidArgumentError, "num_tensor_cores = 2"):
        compiled(lambda: harness.recv(config, core=5))()


def test_RecvTimeoutEndsTheProgram():
    config = small_model.configured(small_model.feature_config())
    tf_embed.set_recv_timeout(0.1)
    try:
        with harness.raises(tf.errors.DeadlineExceededError):
            compiled(lambda: harness.recv(config))()
    finally:
        tf_embed.set_recv_timeout(None)


def test_TPUEmbeddingActivationsIsTheIdentityAndHasItsGradient():
    @compiled
    def forward_and_backward(activations):
        # Where TensorFlow's gradient of the op leaves what it gets.
        collected = [None]
        graph = tf.compat.v1.get_default_graph()
        graph.get_collection_ref("tpu_embedding_gradients_table_0").extend(collected)
        output = tf.raw_ops.TPUEmbeddingActivations(
            embedding_variable=tf.ones([1]),
            sliced_activations=activations,
            table_id=0,
            lookup_id=0,
        )
        (zeros,) = tf.gradients(3.0 * output, activations)
        return output, zeros, graph.get_collection("tpu_embedding_gradients_table_0")[0]

    output, zeros, gradient = forward_and_backward(tf.constant([[1.0, 2.0]]))
    np.testing.assert_array_equal(output, [[1.0, 2.0]])
    np.testing.assert_array_equal(zeros, [[0.0, 0.0]])
    np.testing.assert_array_equal(gradient, [[3.0, 3.0]])
