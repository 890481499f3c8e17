"""TPUEmbeddingForServing beyond a single lookup: training, checkpoints, export."""

import concurrent.futures
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.distribute import distribute_lib
from tensorflow.python.saved_model import loader_impl

import tf_embed
from tf_embed.serving import _call_plans, _for_serving, _fused_update, _quantize

embedding = tf.tpu.experimental.embedding
STOCK = embedding.TPUEmbeddingForServing


def _features(optimizer=None, combiner="mean"):
    video = embedding.TableConfig(
        6, 3, optimizer=optimizer, combiner=combiner, name="video"
    )
    user = embedding.TableConfig(4, 2, combiner="sum", name="user")
    return {
        "watched": embedding.FeatureConfig(video, name="watched"),
        "favourite": embedding.FeatureConfig(video, name="favourite"),
        "who": embedding.FeatureConfig(user, name="who"),
    }


def _inputs():
    return {
        "watched": tf.ragged.constant([[1, 3, 1], [], [5]], dtype=tf.int64),
        "favourite": tf.constant([0, 3, 3]),
        "who": tf.SparseTensor([[0, 0], [2, 1]], np.int64([3, 1]), [3, 2]),
    }


def _assert_equal(actual, expected):
    tf.nest.map_structure(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7),
        actual,
        expected,
    )


def _copy_tables(source, target):
    for name, variables in source._variables.items():
        for slot, variable in variables.items():
            target._variables[name][slot].assign(variable)


def test_under_tpu_strategy_is_refused():
    # Only the type counts, and making a real one needs a TPU.
    strategy = tf.distribute.TPUStrategy.__new__(tf.distribute.TPUStrategy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distribute_lib, "get_strategy", lambda: strategy)
        with pytest.raises(RuntimeError, match="Serving on TPU is not yet supported"):
            tf_embed.TPUEmbeddingForServing(_features(), None)


@pytest.mark.parametrize("ids_type", [tf.int32, tf.int64])
def test_in_dataset_map(ids_type):
    layer = tf_embed.TPUEmbeddingForServing(_features(), None)
    layer.build()
    inputs = tf.nest.map_structure(lambda x: tf.cast(x, ids_type), _inputs())
    dataset = tf.data.Dataset.from_tensors(inputs).repeat(3)
    for found in dataset.map(layer, num_parallel_calls=2):
        _assert_equal(found, layer(inputs))


def test_autograph_leaves_the_lookup_as_it_is(monkeypatch):
    layer = tf_embed.TPUEmbeddingForServing(_features(), None)
    layer.build()
    callers = []
    lookup = _call_plans.CallPlans.lookup

    def spy(*args):
        callers.append(sys._getframe(1).f_code.co_filename)
        return lookup(*args)

    monkeypatch.setattr(_call_plans.CallPlans, "lookup", spy)
    tf.function(layer)(_inputs())
    tf.function(tf_embed.quantize(layer))(_inputs())
    assert callers == [_for_serving.__file__, _quantize.__file__]


def test_unknown_batch_sizes_are_traced_once():
    layer = tf_embed.TPUEmbeddingForServing(_features(), None)
    layer.build()

    @tf.function(
        input_signature=[
            {
                "watched": tf.RaggedTensorSpec([None, None], tf.int64),
                "favourite": tf.TensorSpec([None], tf.int32),
                "who": tf.SparseTensorSpec([None, None], tf.int64),
            }
        ]
    )
    def lookup(features):
        return layer(features)

    _assert_equal(lookup(_inputs()), layer(_inputs()))
    shapes = tf.nest.map_structure(
        lambda spec: spec.shape.as_list(),
        lookup.get_concrete_function().structured_outputs,
    )
    assert shapes == {"watched": [None, 3], "favourite": [None, 3], "who": [None, 2]}


@pytest.mark.parametrize("traced", [False, True])
def test_keras_optimizer_trains_as_with_stock(traced):
    results = []
    layers = [
        cls(_features(), None) for cls in (STOCK, tf_embed.TPUEmbeddingForServing)
    ]
    for layer in layers:
        layer.build()
    _copy_tables(*layers)
    for layer in layers:
        tables = list(layer.embedding_tables.values())
        # Keras' Adagrad squares the parts of a row's gradient where a row comes
        # twice, as it does from TensorFlow's class and never from ours.
        optimizer = tf.keras.optimizers.SGD(0.5)
        optimizer.build(tables)

        def step(layer=layer, tables=tables, optimizer=optimizer):
            with tf.GradientTape() as tape:
                outputs = layer(_inputs())
                loss = sum(tf.reduce_sum(x**2) for x in tf.nest.flatten(outputs))
            gradients = tape.gradient(loss, tables)
            optimizer.apply_gradients(zip(gradients, tables, strict=True))
            return loss

        if traced:
            step = tf.function(step)
        results.append([float(step()) for _ in range(3)])
        results.append([table.numpy() for table in tables])
    _assert_equal(results[2], results[0])
    _assert_equal(results[3], results[1])


@pytest.mark.parametrize(
    "name", ["Adadelta", "Adagrad", "Adam", "AdamW", "Ftrl", "Nadam", "RMSprop", "SGD"]
)
def test_keras_optimizers_take_the_gradients(name):
    """Rows that were looked up get what the dense gradient would give them."""
    layer = tf_embed.TPUEmbeddingForServing(_features(), None)
    tables = list(layer.embedding_tables.values())
    copies = [tf.Variable(table) for table in tables]
    with tf.GradientTape() as tape:
        outputs = layer(_inputs())
        loss = sum(tf.reduce_sum(x**2) for x in tf.nest.flatten(outputs))
    gradients = tape.gradient(loss, tables)
    rows = [gradient.indices.numpy() for gradient in gradients]
    for values, variables in (
        (gradients, tables),
        ([tf.convert_to_tensor(gradient) for gradient in gradients], copies),
    ):
        optimizer = getattr(tf.keras.optimizers, name)(0.5)
        optimizer.build(variables)
        optimizer.apply_gradients(zip(values, variables, strict=True))
    for table, copy, touched in zip(tables, copies, rows, strict=True):
        np.testing.assert_allclose(
            table.numpy()[touched], copy.numpy()[touched], rtol=1e-5, atol=1e-6
        )


def _reference_adagrad(table, accumulators, rows, gradients, rate):
    for row, gradient in zip(rows, gradients, strict=True):
        accumulators[row] += gradient**2
        table[row] -= rate * gradient / np.sqrt(accumulators[row])


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("traced", [False, True])
def test_apply_gradients_is_one_adagrad_step(direct, traced):
    layer = tf_embed.TPUEmbeddingForServing(_features(), embedding.Adagrad(0.5))
    tables = {config.name: config for config in layer.embedding_tables}
    before = {name: layer.embedding_tables[c].numpy() for name, c in tables.items()}

    def step():
        with tf.GradientTape() as tape:
            outputs = layer(_inputs())
            tape.watch(outputs)
            loss = sum(tf.reduce_sum(x * 2) for x in tf.nest.flatten(outputs))
        if direct:
            layer.apply_activation_gradients(_inputs(), tape.gradient(loss, outputs))
        else:
            variables = list(layer.embedding_tables.values())
            layer.apply_gradients(
                zip(tape.gradient(loss, variables), variables, strict=True)
            )

    (tf.function(step) if traced else step)()
    # d loss / d row, by hand: mean over 3 ids, then over one.
    video, user = np.zeros((6, 3)), np.zeros((4, 2))
    video[1] = 2 * 2 / 3
    video[3] = 2 / 3 + 2 + 2
    video[5] = 2
    video[0] = 2
    user[3] = user[1] = 2
    for name, gradient in (("video", video), ("user", user)):
        rows = np.flatnonzero(gradient[:, 0])
        table, accumulators = before[name].copy(), np.full(gradient.shape, 0.1)
        _reference_adagrad(table, accumulators, rows, gradient[rows], 0.5)
        variables = layer._variables[name]
        # Rounding is relative to the step, of at most 0.5 * g / sqrt(g ** 2), and
        # to the values before it, below 2; not to a difference that is nearly 0.
        np.testing.assert_allclose(variables["parameters"], table, rtol=0, atol=5e-7)
        np.testing.assert_allclose(variables["accumulators"], accumulators, rtol=1e-6)


def test_apply_gradients_without_optimizer_is_refused():
    layer = tf_embed.TPUEmbeddingForServing(_features(), None)
    table = next(iter(layer.embedding_tables.values()))
    with pytest.raises(RuntimeError, match="Table video has no optimizer"):
        layer.apply_gradients([(tf.zeros([6, 3]), table)])


def test_apply_gradients_refuses_foreign_tables():
    layer = tf_embed.TPUEmbeddingForServing(_features(), embedding.SGD(1.0))
    with pytest.raises(ValueError, match="other.* is no table of this embedding"):
        layer.apply_gradients([(tf.zeros([2, 2]), tf.Variable(0.0, name="other"))])


def test_gradient_outside_the_table_is_refused_and_changes_nothing():
    layer = tf_embed.TPUEmbeddingForServing(_features(), embedding.SGD(1.0))
    table = next(iter(layer.embedding_tables.values()))
    before = table.numpy()
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"is not in \[0, 6\)"):
        layer.apply_gradients([(tf.IndexedSlices(tf.ones([2, 3]), [1, 6]), table)])
    np.testing.assert_array_equal(table, before)


def test_gradient_of_another_shape_than_the_table_is_refused_by_its_name():
    layer = tf_embed.TPUEmbeddingForServing(_features(), embedding.SGD(1.0))
    table = next(iter(layer.embedding_tables.values()))
    message = r"gradient of 'video' has shape \[6,4\], must have \[6,3\]"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        layer.apply_gradients([(tf.zeros([6, 4]), table)])


def test_learning_rate_may_be_a_function():
    rate = tf.Variable(0.25)
    layer = tf_embed.TPUEmbeddingForServing(
        _features(), embedding.SGD(learning_rate=lambda: rate)
    )
    table = next(iter(layer.embedding_tables.values()))
    before = table.numpy()
    gradient = tf.IndexedSlices(tf.ones([1, 3]), [2])
    layer.apply_gradients([(gradient, table)])
    np.testing.assert_allclose(table[2], before[2] - 0.25, rtol=1e-6)
    rate.assign(1.0)
    layer.apply_gradients([(gradient, table)])
    np.testing.assert_allclose(table[2], before[2] - 1.25, rtol=1e-6)


def test_learning_rate_may_change_or_be_a_variable():
    layer = tf_embed.TPUEmbeddingForServing(_features(), embedding.SGD(0.25))
    config, table = next(iter(layer.embedding_tables.items()))
    before = table.numpy()
    gradient = tf.IndexedSlices(tf.ones([1, 3]), [2])
    attribute = _fused_update._config([config])
    rate = tf.Variable(1.0)
    for learning_rate, lower in ((0.25, 0.25), (0.5, 0.75), (rate, 1.75)):
        config.optimizer.learning_rate = learning_rate
        layer.apply_gradients([(gradient, table)])
        np.testing.assert_allclose(table[2], before[2] - lower, rtol=1e-6)
        # Or each rate made TensorFlow keep another kernel.
        assert _fused_update._config([config]) == attribute


def test_eager_calls_of_changing_features_share_their_memory():
    table = embedding.TableConfig(1000, 2, combiner="sum", name="t")
    names = [f"f{i}" for i in range(7)]
    layer = tf_embed.TPUEmbeddingForServing(
        {name: embedding.FeatureConfig(table) for name in names}, None
    )
    ids = tf.RaggedTensor.from_row_lengths(
        tf.range(100_000) % 1000, tf.fill([1000], 100)
    )

    def look_up(subset):
        with open("/proc/self/statm") as statm:
            pages = int(statm.read().split()[1])
        layer({name: ids for i, name in enumerate(names) if subset >> i & 1})
        return pages * 4096

    look_up(127)
    # A subset takes 0.8 MB a feature, all of them together 350 MB.
    before, *_, after = [look_up(subset) for subset in range(1, 128)]
    assert after - before < 100e6


@pytest.mark.parametrize("traced", [False, True])
def test_activations_without_a_gradient_leave_their_rows(traced):
    layer = tf_embed.TPUEmbeddingForServing(
        _features(), embedding.Adagrad(0.5, weight_decay_factor=0.5)
    )
    video, user = layer.embedding_tables.values()
    before = video.numpy(), user.numpy()

    def step():
        with tf.GradientTape() as tape:
            outputs = layer(_inputs())
            tape.watch(outputs)
            loss = tf.reduce_sum(outputs["favourite"])
        layer.apply_activation_gradients(_inputs(), tape.gradient(loss, outputs))

    (tf.function(step) if traced else step)()
    changed = np.flatnonzero((video.numpy() != before[0]).any(axis=1))
    assert changed.tolist() == [0, 3]
    np.testing.assert_array_equal(user, before[1])
    layer.apply_activation_gradients(_inputs(), dict.fromkeys(_inputs()))


def test_gradients_of_another_type_are_refused():
    layer = tf_embed.TPUEmbeddingForServing(_features(), embedding.SGD(1.0))
    table = next(iter(layer.embedding_tables.values()))
    with pytest.raises(ValueError, match="gradient of video is float64"):
        layer.apply_gradients([(tf.zeros([6, 3], tf.float64), table)])
    with pytest.raises(ValueError, match="gradient of favourite is bfloat16"):
        layer.apply_activation_gradients(
            {"favourite": tf.constant([1])},
            {"favourite": tf.zeros([1, 3], tf.bfloat16)},
        )


def _cond(which, lookup):
    if which:
        loss = lookup()
    else:
        loss = tf.constant(0.0)
    return loss


def _switch_case(which, lookup):
    zero = lambda: tf.constant(0.0)  # noqa: E731
    return tf.switch_case(tf.cast(which, tf.int32), [zero, lookup, zero])


def _loop(which, lookup):
    loss = tf.constant(0.0)
    for i in tf.range(3):
        if which and i == 1:
            loss += lookup()
    return loss


@pytest.mark.parametrize("control_flow", [_cond, _switch_case, _loop])
def test_gradients_through_control_flow(control_flow):
    layer = tf_embed.TPUEmbeddingForServing(_features(), None)
    table = next(iter(layer.embedding_tables.values()))

    @tf.function
    def gradient(which):
        with tf.GradientTape() as tape:
            loss = control_flow(
                which, lambda: tf.reduce_sum(layer(_inputs())["watched"])
            )
        return tf.convert_to_tensor(tape.gradient(loss, table))

    np.testing.assert_array_equal(gradient(tf.constant(False)), np.zeros([6, 3]))
    expected = np.float32([0, 2 / 3, 0, 1 / 3, 0, 1])
    np.testing.assert_allclose(gradient(tf.constant(True))[:, 0], expected)


@pytest.mark.parametrize("cls", [STOCK, tf_embed.TPUEmbeddingForServing])
def test_traced_gradients_leave_out_features_that_the_loss_does_not_use(cls):
    layer = cls(_features(), None)
    layer.build()
    tables = list(layer.embedding_tables.values())

    @tf.function
    def step(inputs):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(inputs)["favourite"])
        video, user = tape.gradient(loss, tables)
        assert user is None
        return video.indices

    for inputs in (_inputs(), {**_inputs(), "who": tf.constant([1, 2])}):
        assert set(step(inputs).numpy()) == {0, 3}


def test_other_derivatives_are_refused():
    layer = tf_embed.TPUEmbeddingForServing(_features(), None)
    table = next(iter(layer.embedding_tables.values()))

    def loss():
        return tf.reduce_sum(layer(_inputs())["favourite"] ** 3)

    with tf.GradientTape() as outer:
        with tf.GradientTape() as tape:
            value = loss()
        gradient = tf.reduce_sum(tape.gradient(value, table).values)
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        outer.gradient(gradient, table)
    with pytest.raises(NotImplementedError, match="no tf.autodiff.ForwardAccumulator"):
        with tf.autodiff.ForwardAccumulator(table, tf.ones_like(table)):
            loss()


def test_update_leaves_earlier_reads_alone():
    layer = tf_embed.TPUEmbeddingForServing(_features(), embedding.SGD(1.0))
    table = next(iter(layer.embedding_tables.values()))
    read = table.read_value()
    before = read.numpy().copy()
    layer.apply_gradients([(tf.ones([6, 3]), table)])
    np.testing.assert_array_equal(read, before)
    np.testing.assert_allclose(table, before - 1, rtol=1e-6)


def test_traced_lookups_see_the_updates_before_them():
    layer = tf_embed.TPUEmbeddingForServing(_features(), embedding.SGD(1.0))
    table = next(iter(layer.embedding_tables.values()))
    table.assign(tf.zeros_like(table))
    inputs = {"favourite": tf.constant([1])}

    @tf.function
    def program():
        seen = [layer(inputs)["favourite"][0, 0]]
        for _ in range(2):
            layer.apply_gradients([(tf.ones([6, 3]), table)])
            seen.append(layer(inputs)["favourite"][0, 0])
        return seen

    assert [float(x) for x in program()] == [0.0, -1.0, -2.0]


def test_lookups_beside_updates_see_whole_steps():
    layer = tf_embed.TPUEmbeddingForServing(_features(), embedding.SGD(1.0))
    table = next(iter(layer.embedding_tables.values()))
    table.assign(tf.zeros_like(table))
    inputs = {"favourite": tf.range(6), "watched": _inputs()["watched"]}

    @tf.function
    def lookup():
        return layer(inputs)

    @tf.function
    def update():
        layer.apply_gradients([(tf.ones([6, 3]), table)])

    lookup()
    update()

    def look_often(_):
        for _ in range(100):
            rows = lookup()["favourite"].numpy()
            assert (rows == rows[0, 0]).all(), rows

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(look_often, i) for i in range(3)]
        writer = pool.submit(lambda: [update() for _ in range(200)])
        for future in [*readers, writer]:
            future.result(timeout=120)
    np.testing.assert_array_equal(table, np.full([6, 3], -201.0))


@pytest.mark.parametrize(
    ("writer", "reader"),
    [
        (STOCK, tf_embed.TPUEmbeddingForServing),
        (tf_embed.TPUEmbeddingForServing, STOCK),
    ],
)
@pytest.mark.parametrize("with_optimizer", [True, False])
def test_checkpoints_are_interchangeable(writer, reader, with_optimizer, tmp_path):
    saved = writer(_features(), embedding.Adam())
    saved.build()
    path = tf.train.Checkpoint(embedding=saved).save(str(tmp_path / "ckpt"))
    restored = reader(_features(), embedding.Adam() if with_optimizer else None)
    status = tf.train.Checkpoint(embedding=restored).restore(path)
    restored.build()
    if with_optimizer:
        status.assert_consumed()
    for name, variables in restored._variables.items():
        assert len(variables) == (3 if with_optimizer else 1)
        for slot, variable in variables.items():
            np.testing.assert_array_equal(variable, saved._variables[name][slot])


class _Model(tf.Module):
    def __init__(self, **kwargs):
        super().__init__()
        self.embedding = tf_embed.TPUEmbeddingForServing(_features(), None, **kwargs)
        self.embedding.build()

    @tf.function
    def serve(self, watched, favourite):
        outputs = self.embedding({"watched": watched, "favourite": favourite})
        return {"sum": outputs["watched"] + outputs["favourite"]}


def _save(model, path, **options):
    specs = (
        tf.RaggedTensorSpec([None, None], tf.int64),
        tf.TensorSpec([None], tf.int32),
    )
    # Traced before it is saved: the export must not contain this trace.
    model.serve.get_concrete_function(*specs)
    model.serve(_inputs()["watched"], _inputs()["favourite"])
    tf.saved_model.save(model, str(path), options=tf.saved_model.SaveOptions(**options))


def _ops_of(path):
    saved = loader_impl.parse_saved_model(str(path))
    graph = saved.meta_graphs[0].graph_def
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    return {node.op for node in nodes}


def test_export_has_stock_ops_only(tmp_path):
    model = _Model()
    _save(model, tmp_path)
    assert not [op for op in _ops_of(tmp_path) if op.startswith("TfEmbed")]
    _check_loaded(model, tmp_path)


def test_fused_export_has_the_fused_op(tmp_path):
    model = _Model(fused_export=True)
    _save(model, tmp_path, namespace_whitelist=["TfEmbed"])
    assert "TfEmbed>FusedEmbeddingLookup" in _ops_of(tmp_path)
    _check_loaded(model, tmp_path)


def _trainable(fused_export):
    model = tf.Module()
    model.layer = tf_embed.TPUEmbeddingForServing(
        _features(), embedding.SGD(1.0), fused_export=fused_export
    )
    table = next(iter(model.layer.embedding_tables.values()))

    @tf.function(input_signature=[tf.TensorSpec([6, 3])])
    def step(gradient):
        model.layer.apply_gradients([(gradient, table)])

    model.step = step
    step(tf.ones([6, 3]))
    return model


def test_export_of_training_has_no_stock_ops(tmp_path):
    with pytest.raises(RuntimeError, match="cannot hold the update"):
        tf.saved_model.save(_trainable(fused_export=False), str(tmp_path))
    tf.saved_model.save(_trainable(fused_export=True), str(tmp_path))
    assert "TfEmbed>FusedEmbeddingUpdate" in _ops_of(tmp_path)


def _check_loaded(model, path):
    inputs = _inputs()
    loaded = tf.saved_model.load(str(path))
    expected = model.serve(inputs["watched"], inputs["favourite"])
    _assert_equal(loaded.serve(inputs["watched"], inputs["favourite"]), expected)
