"""TensorFlow's TPUEmbedding under the strategy, against plain arithmetic."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.tpu import tpu_embedding_v1
from vtpu_testing import CORES, resolver, strategy

embedding = tf.tpu.experimental.embedding

ROWS, WIDTH, RATE = 16, 4, 0.25
PER_CORE = 2
BATCH = PER_CORE * CORES
START = np.random.default_rng(2).normal(size=(ROWS, WIDTH)).astype(np.float32)


def constant(value):
    return lambda shape, dtype=None, **_: tf.constant(value, dtype)


def table(name="words", optimizer=None, combiner="sum", start=START):
    return embedding.TableConfig(
        ROWS, WIDTH, constant(start), optimizer, combiner, name=name
    )


def build(features, optimizer, cls=embedding.TPUEmbedding):
    """A fresh engine; TPUEmbedding may be made once per initialization."""
    tf.tpu.experimental.initialize_tpu_system(resolver())
    with strategy().scope():
        return cls(features, optimizer)


def sparse(rows):
    """Ragged lists as a SparseTensor."""
    return tf.RaggedTensor.from_row_splits(
        np.concatenate(rows).astype(np.int64), np.cumsum([0, *map(len, rows)])
    ).to_sparse()


def ids(seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(0, ROWS, random.integers(1, 5)) for _ in range(BATCH)]


def inputs(*rows):
    """An iterator over the same global batch, which stays on the host."""
    parts = [
        tuple(sparse(r[i : i + PER_CORE]) for r in rows)
        for i in range(0, BATCH, PER_CORE)
    ]

    def dataset(context):
        del context
        data = tf.data.Dataset.from_tensors(parts[0])
        for part in parts[1:]:
            data = data.concatenate(tf.data.Dataset.from_tensors(part))
        return data.repeat()

    options = tf.distribute.InputOptions(experimental_fetch_to_device=False)
    return iter(strategy().distribute_datasets_from_function(dataset, options))


def looked_up(values, rows, combiner="sum"):
    mean = combiner == "mean"
    return np.stack([values[r].mean(0) if mean else values[r].sum(0) for r in rows])


def trained(engine, iterator, steps=1, gradient=lambda a: a):
    """Activations of each step, [steps][core], and what a loop on the host sees."""

    @tf.function
    def step(iterator):
        engine.enqueue(next(iterator), training=True)

        def fn():
            activations = engine.dequeue()
            engine.apply_gradients(tf.nest.map_structure(gradient, activations))
            return activations

        return strategy().run(fn)

    return [
        tf.nest.map_structure(
            lambda v: np.concatenate(
                [x.numpy() for x in strategy().experimental_local_results(v)]
            ),
            step(iterator),
        )
        for _ in range(steps)
    ]


def tables(engine):
    """Table -> parameters and slots, as the engine has them now."""
    engine._retrieve_variables()
    return {
        name: {
            slot: np.concatenate([part.numpy() for part in value.variables])
            for slot, value in values.items()
        }
        for name, values in engine._variables.items()
    }


def summed(rows, gradient):
    """Gradient of each row of the table."""
    result = np.zeros_like(START)
    for row, g in zip(rows, gradient, strict=True):
        np.add.at(result, row, g)
    return result


def touched(rows):
    return np.isin(np.arange(ROWS), np.concatenate(rows))[:, None]


def feature(**options):
    return (embedding.FeatureConfig(table(**options), name="text"),)


def test_lookup_and_sgd():
    engine = build(feature(), embedding.SGD(RATE))
    rows = ids()
    first, second = trained(engine, inputs(rows), steps=2)
    expected = looked_up(START, rows)
    np.testing.assert_allclose(first[0], expected, rtol=1e-6)
    after = START - RATE * summed(rows, expected)
    np.testing.assert_allclose(second[0], looked_up(after, rows), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("combiner", ["sum", "mean"])
def test_combiners(combiner):
    engine = build(feature(combiner=combiner), embedding.SGD(RATE))
    rows = ids(1)
    found = trained(engine, inputs(rows))
    expected = looked_up(START, rows, combiner)
    np.testing.assert_allclose(found[0][0], expected, rtol=1e-5, atol=1e-6)


def adagrad(g, slots):
    a = slots["accumulators"] + g * g
    return START - RATE * g / np.sqrt(a), {"accumulators": a}


def adam(g, slots):
    del slots
    m, v = 0.1 * g, 0.001 * g * g  # without a correction of the bias
    return START - RATE * m / (np.sqrt(v) + 1e-7), {"momenta": m, "velocities": v}


def ftrl(g, slots):
    a = slots["accumulators"] + g * g
    sigma = (np.sqrt(a) - np.sqrt(slots["accumulators"])) / RATE
    linear = slots["linears"] + g - sigma * START
    return -linear / (np.sqrt(a) / RATE), {"accumulators": a, "linears": linear}


@pytest.mark.parametrize(
    "optimizer, expected, start",
    [
        (embedding.SGD(RATE), lambda g, s: (START - RATE * g, {}), {}),
        (embedding.Adagrad(RATE, 0.1), adagrad, {"accumulators": 0.1}),
        (embedding.Adam(RATE, epsilon=1e-7, sum_inside_sqrt=False), adam, {}),
        (
            embedding.FTRL(RATE, initial_accumulator_value=0.1),
            ftrl,
            {"accumulators": 0.1, "linears": 0.0},
        ),
    ],
    ids=["sgd", "adagrad", "adam", "ftrl"],
)
def test_optimizer_step(optimizer, expected, start):
    engine = build(feature(), optimizer)
    rows = ids(3)
    activations = trained(engine, inputs(rows))[0][0]
    values, slots = expected(summed(rows, activations), start)
    found = tables(engine)["words"]
    seen = touched(rows)
    np.testing.assert_allclose(
        found["parameters"], np.where(seen, values, START), rtol=2e-4, atol=1e-5
    )
    for name, value in slots.items():
        np.testing.assert_allclose(
            np.where(seen, found[name], 0), np.where(seen, value, 0), rtol=1e-4
        )


@pytest.mark.parametrize("cls", ["SGD", "Adagrad", "AdagradMomentum", "Adam", "FTRL"])
def test_every_optimizer_makes_the_loss_fall(cls):
    options = {"momentum": 0.5} if cls == "AdagradMomentum" else {}
    engine = build(feature(), getattr(embedding, cls)(0.05, **options))
    found = trained(engine, inputs(ids(4)), steps=6)
    losses = [float((activations[0] ** 2).sum()) for activations in found]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.9 * losses[0]


def test_learning_rate_that_a_function_gives():
    step = tf.Variable(0.0)
    optimizer = embedding.SGD(lambda: RATE / (1.0 + step))
    engine = build(feature(), optimizer)
    rows = ids(5)
    expected = START
    for i in range(3):
        step.assign(float(i))
        activations = trained(engine, inputs(rows))[0][0]
        expected = expected - RATE / (1.0 + i) * summed(rows, activations)
        np.testing.assert_allclose(
            tables(engine)["words"]["parameters"], expected, rtol=1e-4, atol=1e-4
        )


def test_tables_with_optimizers_of_their_own():
    features = (
        embedding.FeatureConfig(table("a", embedding.SGD(RATE)), name="x"),
        embedding.FeatureConfig(table("b", embedding.Adagrad(RATE, 0.1)), name="y"),
    )
    engine = build(features, None)
    x, y = ids(6), ids(7)
    of_x, of_y = trained(engine, inputs(x, y))[0]
    found = tables(engine)
    np.testing.assert_allclose(
        found["a"]["parameters"],
        START - RATE * summed(x, of_x),
        rtol=1e-4,
        atol=1e-5,
    )
    values, _ = adagrad(summed(y, of_y), {"accumulators": 0.1})
    np.testing.assert_allclose(found["b"]["parameters"], values, rtol=1e-4, atol=1e-5)


def test_features_that_share_a_table():
    shared = table()
    features = tuple(embedding.FeatureConfig(shared, name=n) for n in "xy")
    engine = build(features, embedding.SGD(RATE))
    x, y = ids(8), ids(9)
    of_x, of_y = trained(engine, inputs(x, y))[0]
    gradient = summed(x, of_x) + summed(y, of_y)
    np.testing.assert_allclose(
        tables(engine)["words"]["parameters"],
        START - RATE * gradient,
        rtol=1e-4,
        atol=1e-4,
    )


def test_sequence_feature():
    length = 3
    features = (
        embedding.FeatureConfig(table(), max_sequence_length=length, name="text"),
    )
    engine = build(features, embedding.SGD(RATE))
    rows = ids(10)
    found = trained(engine, inputs(rows))[0][0]
    expected = np.zeros((BATCH, length, WIDTH), np.float32)
    for i, row in enumerate(rows):
        expected[i, : len(row[:length])] = START[row[:length]]
    np.testing.assert_array_equal(found, expected)


def test_enqueue_inside_run():
    engine = build(feature(), embedding.SGD(RATE))
    rows = ids(11)
    iterator = inputs(rows)

    @tf.function
    def step(iterator):
        def fn(data):
            engine.enqueue(data, training=True)
            activations = engine.dequeue()
            engine.apply_gradients(activations)
            return activations

        return strategy().run(fn, (next(iterator),))

    results = strategy().experimental_local_results(step(iterator)[0])
    np.testing.assert_allclose(
        np.concatenate([r.numpy() for r in results]), looked_up(START, rows), rtol=1e-6
    )
    assert not np.array_equal(tables(engine)["words"]["parameters"], START)


def test_enqueue_for_one_device():
    engine = build(feature(), embedding.SGD(RATE))
    rows = ids(12)
    engine.build(per_replica_batch_size=PER_CORE)

    @tf.function
    def step():
        # Cores in another order than the batch.
        for core in reversed(range(CORES)):
            part = rows[core * PER_CORE : (core + 1) * PER_CORE]
            engine.enqueue((sparse(part),), training=False, device=f"TPU:{core}")
        return strategy().run(engine.dequeue)

    results = strategy().experimental_local_results(step()[0])
    np.testing.assert_allclose(
        np.concatenate([r.numpy() for r in results]), looked_up(START, rows), rtol=1e-6
    )


def test_modes_switch_from_step_to_step():
    engine = build(feature(), embedding.SGD(RATE))
    rows = ids(13)
    iterator = inputs(rows)

    @tf.function
    def evaluate(iterator):
        engine.enqueue(next(iterator), training=False)
        return strategy().run(engine.dequeue)

    values = START
    for _ in range(3):
        results = strategy().experimental_local_results(evaluate(iterator)[0])
        found = np.concatenate([r.numpy() for r in results])
        np.testing.assert_allclose(found, looked_up(values, rows), rtol=1e-4, atol=1e-4)
        trained(engine, iterator)
        values = values - RATE * summed(rows, looked_up(values, rows))


def test_host_loop_over_steps():
    engine = build(feature(), embedding.SGD(0.01))
    rows = ids(14)
    iterator = inputs(rows)

    @tf.function
    def steps(iterator, n):
        def fn():
            engine.apply_gradients(engine.dequeue())

        for _ in tf.range(n):
            engine.enqueue(next(iterator), training=True)
            strategy().run(fn)

    steps(iterator, tf.constant(4))
    values = START
    for _ in range(4):
        values = values - 0.01 * summed(rows, looked_up(values, rows))
    np.testing.assert_allclose(
        tables(engine)["words"]["parameters"], values, rtol=1e-4, atol=1e-4
    )


def test_checkpoint_comes_back_bit_for_bit(tmp_path):
    engine = build(feature(), embedding.Adagrad(RATE))
    iterator = inputs(ids(15))
    trained(engine, iterator, steps=2)
    path = tf.train.Checkpoint(embedding=engine).write(str(tmp_path / "c"))
    expected = trained(engine, iterator, steps=2)

    restored = build(feature(), embedding.Adagrad(RATE))
    restored.build(per_replica_batch_size=PER_CORE)
    tf.train.Checkpoint(embedding=restored).read(path).assert_consumed()
    again = trained(restored, inputs(ids(15)), steps=2)
    for a, b in zip(expected, again, strict=True):
        np.testing.assert_array_equal(a[0], b[0])


def test_checkpoint_read_for_serving(tmp_path):
    engine = build(feature(), embedding.Adagrad(RATE))
    rows = ids(16)
    trained(engine, inputs(rows), steps=2)
    path = tf.train.Checkpoint(embedding=engine).write(str(tmp_path / "c"))
    values = tables(engine)["words"]["parameters"]

    served = embedding.TPUEmbeddingForServing(feature(), embedding.Adagrad(RATE))
    served.build()
    tf.train.Checkpoint(embedding=served).read(path).expect_partial()
    np.testing.assert_allclose(
        served.embedding_lookup((sparse(rows),))[0],
        looked_up(values, rows),
        rtol=1e-5,
        atol=1e-6,
    )


def test_wrong_batch_is_named():
    engine = build(feature(), embedding.SGD(RATE))
    iterator = inputs(ids(17))
    trained(engine, iterator)
    wrong = sparse([np.array([1])] * (PER_CORE + 1))
    with pytest.raises(ValueError, match="shape"):
        engine.enqueue((wrong,), training=True, device="TPU:0")


def test_v1_class_looks_up_on_the_cores():
    engine = build(feature(), embedding.SGD(RATE), tpu_embedding_v1.TPUEmbeddingV0)
    rows = ids(18)
    iterator = inputs(rows)

    @tf.function
    def step(iterator):
        return strategy().run(lambda data: engine(data), (next(iterator),))

    results = strategy().experimental_local_results(step(iterator)[0])
    np.testing.assert_allclose(
        np.concatenate([r.numpy() for r in results]),
        looked_up(START, rows),
        rtol=1e-5,
        atol=1e-6,
    )


def test_same_bits_each_time():
    def bits():
        engine = build(feature(), embedding.Adagrad(RATE))
        trained(engine, inputs(ids(19)), steps=5)
        return tables(engine)["words"]["parameters"].tobytes()

    assert bits() == bits()


def test_enqueue_ops_that_take_their_core_as_an_input():
    rows = ids(20)
    engine = build(feature(), embedding.SGD(RATE))
    engine.build(per_replica_batch_size=PER_CORE)
    parts = [
        tf.RaggedTensor.from_row_splits(
            np.concatenate(part).astype(np.int32),
            np.cumsum([0, *map(len, part)]).astype(np.int32),
        )
        for part in (rows[i : i + PER_CORE] for i in range(0, BATCH, PER_CORE))
    ]
    values = strategy().experimental_distribute_values_from_function(
        lambda context: parts[context.replica_id_in_sync_group].values
    )
    splits = strategy().experimental_distribute_values_from_function(
        lambda context: parts[context.replica_id_in_sync_group].row_splits
    )

    @tf.function
    def step(values, splits):
        def enqueue(values, splits):
            tf.raw_ops.DynamicEnqueueTPUEmbeddingArbitraryTensorBatch(
                sample_indices_or_row_splits=[splits],
                embedding_indices=[values],
                aggregation_weights=[tf.zeros([0])],
                mode_override="inference",
                device_ordinal=-1,
                combiners=["sum"],
            )

        def fn(values, splits):
            tf.compat.v1.tpu.outside_compilation(enqueue, values, splits)
            return engine.dequeue()

        return strategy().run(fn, (values, splits))

    results = strategy().experimental_local_results(step(values, splits)[0])
    np.testing.assert_allclose(
        np.concatenate([r.numpy() for r in results]), looked_up(START, rows), rtol=1e-6
    )
