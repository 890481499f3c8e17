"""TF1-style training graphs: what the tables hold after known steps."""

import numpy as np
import pytest
import tensorflow as tf
import testing

import tf_embed
from tf_embed import _activations_gradient, raw_ops, training

tf1 = tf.compat.v1

# Our gradient, whatever TensorFlow has registered for the op itself.
tf.RegisterGradient("TfEmbedTestActivations")(
    _activations_gradient.activations_gradient
)


@pytest.fixture(params=["stock gradient", "our gradient"])
def graph(request):
    override = {}
    if request.param == "our gradient":
        override = {"TPUEmbeddingActivations": "TfEmbedTestActivations"}
    with tf.Graph().as_default() as graph, graph.gradient_override_map(override):
        yield graph
    tf_embed.shutdown()


@pytest.fixture(autouse=True)
def no_endless_wait():
    tf_embed.set_recv_timeout(30)
    yield
    tf_embed.set_recv_timeout(None)


def _load(name, values):
    return raw_ops.LoadTPUEmbeddingStochasticGradientDescentParameters(
        parameters=values, table_name=name, num_shards=1, shard_id=0
    )


def _retrieve(name):
    return raw_ops.RetrieveTPUEmbeddingStochasticGradientDescentParameters(
        table_name=name, num_shards=1, shard_id=0
    )


def _set_dynamic_rate(config, table_id, tag):
    parameters = config.table_descriptor[table_id].optimization_parameters
    parameters.learning_rate.dynamic.tag = tag


def test_gradient_is_registered():
    from tensorflow.python.framework import ops

    assert ops.gradient_registry.lookup("TPUEmbeddingActivations")


def test_graph_with_features_trains(graph):
    config = testing.feature_config()
    _set_dynamic_rate(config, 1, 0)
    rng = np.random.default_rng(7)
    user, item = rng.normal(size=(8, 2)), rng.normal(size=(6, 3))
    dense = rng.normal(size=(3, 1))
    ids = {"user": [1, 1, 7, 0], "item": [5, 2, 2, 3]}
    seen = [[0, 1], [2], [], [5, 5]]

    configure = raw_ops.ConfigureTPUEmbedding(config=config)
    load = tf.group(_load("user", user), _load("item", item))
    splits, seen_ids = testing.ragged(seen)
    enqueue = raw_ops.EnqueueTPUEmbeddingArbitraryTensorBatch(
        sample_indices_or_row_splits=[testing.NONE, testing.NONE, splits],
        embedding_indices=[ids["user"], ids["item"], seen_ids.astype(np.int32)],
        aggregation_weights=[testing.NO_WEIGHTS] * 3,
        mode_override="unspecified",
    )
    variables, initializer = training.create_dummy_table_variables(config)
    with tf.control_dependencies([enqueue]):
        received = raw_ops.RecvTPUEmbeddingActivations(num_outputs=3, config=config)
    u, i, s = training.hook_dummy_table_variables_to_activations(
        config, received, variables
    )
    weight = tf1.get_variable(
        "weight", initializer=tf.constant(dense, tf.float32), use_resource=True
    )
    rate = tf1.placeholder(tf.float64, [])
    loss = (
        tf.reduce_sum(tf.square(u))
        + tf.reduce_sum(tf.matmul(i, weight))
        + tf.reduce_sum(tf.square(s - 1.0))
    )
    minimize = tf1.train.GradientDescentOptimizer(0.05).minimize(loss)
    gradients = training.get_gradients_through_dummy_table_variables(config)
    send = training.generate_send_gradients_op(config, gradients, [rate], name="send")
    assert send.name == "send"
    retrieve = [_retrieve("user"), _retrieve("item")]

    with tf1.Session(graph=graph) as session:
        session.run(configure)
        session.run([load, initializer, tf1.global_variables_initializer()])
        for step in range(3):
            session.run([minimize, send], {rate: 0.1 * (step + 1)})
        got_user, got_item = session.run(retrieve)
        dummy = session.run(list(variables.values()))

    for step in range(3):
        grad_user, grad_item = np.zeros_like(user), np.zeros_like(item)
        rows_user, rows_item = user.copy(), item.copy()
        for row in ids["user"]:
            grad_user[row] += 2 * rows_user[row]
        grad_dense = np.zeros_like(dense)
        for row in ids["item"]:
            grad_item[row] += dense[:, 0]
            grad_dense[:, 0] += rows_item[row]
        for row in (row for bag in seen for row in bag):
            grad_item[row] += 2 * (rows_item[row] - 1.0)
        user -= 0.1 * grad_user
        item -= 0.1 * (step + 1) * grad_item
        dense -= 0.05 * grad_dense
    np.testing.assert_allclose(got_user, user, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got_item, item, rtol=1e-5, atol=1e-6)
    assert [value.tolist() for value in dummy] == [[0.0], [0.0]]


def test_graph_with_tables_trains(graph):
    config = testing.table_config()
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=(5, 2)), rng.normal(size=(3, 4))
    # Rows of sample and feature: b * num_features + f.
    ids_a, ids_b = np.array([0, 1, 4, 4, 2, 0, 3, 1]), np.array([2, 2, 0, 2])

    configure = raw_ops.ConfigureTPUEmbedding(config=config)
    load = tf.group(_load("a", a), _load("b", b))
    enqueue = raw_ops.EnqueueTPUEmbeddingIntegerBatch(
        batch=[ids_a, ids_b], mode_override="unspecified"
    )
    variables, initializer = training.create_dummy_table_variables(config)
    with tf.control_dependencies([enqueue]):
        received = raw_ops.RecvTPUEmbeddingActivations(num_outputs=2, config=config)
    a0, a1, b0 = training.hook_dummy_table_variables_to_activations(
        config, received, variables
    )
    assert [x.shape.as_list() for x in (a0, a1, b0)] == [[4, 2], [4, 2], [4, 4]]
    loss = tf.reduce_sum(a0 * a1) + 3.0 * tf.reduce_sum(b0)
    tf.gradients(loss, list(variables.values()))
    gradients = training.get_gradients_through_dummy_table_variables(config)
    assert [x.shape.as_list() for x in gradients] == [[8, 2], [4, 4]]
    send = training.generate_send_gradients_op(config, gradients)
    retrieve = [_retrieve("a"), _retrieve("b")]

    with tf1.Session(graph=graph) as session:
        session.run(configure)
        session.run([load, initializer])
        session.run(send)
        got_a, got_b = session.run(retrieve)

    grad_a, grad_b = np.zeros_like(a), np.zeros_like(b)
    for left, right in ids_a.reshape(4, 2):
        grad_a[left] += a[right]
        grad_a[right] += a[left]
    for row in ids_b:
        grad_b[row] += 3.0
    np.testing.assert_allclose(got_a, a - 0.1 * grad_a, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(got_b, b - 0.1 * grad_b, rtol=1e-5, atol=1e-6)


def test_collections_follow_the_protocol(graph):
    for config, counts in [
        (testing.feature_config(), [1, 2]),
        (testing.table_config(), [2, 1]),
    ]:
        with tf.Graph().as_default() as inner:
            variables, _ = training.create_dummy_table_variables(config)
            assert inner.get_collection("tpu_embedding_dummy_table_variables") == list(
                variables.values()
            )
            for (name, variable), table in zip(
                variables.items(), config.table_descriptor, strict=True
            ):
                assert name == table.name
                assert variable.op.name == f"tpu_embedding_dummy_table_variable_{name}"
                assert variable.shape == [1]
                assert variable in tf1.trainable_variables()
                assert variable not in tf1.global_variables()
            for table_id, count in enumerate(counts):
                assert (
                    inner.get_collection(f"tpu_embedding_gradients_table_{table_id}")
                    == [None] * count
                )


def _hooked(config):
    activations = [
        tf.ones(
            [*feature.input_shape, config.table_descriptor[feature.table_id].dimension]
        )
        for feature in config.feature_descriptor
    ]
    variables, _ = training.create_dummy_table_variables(config)
    return variables, training.hook_dummy_table_variables_to_activations(
        config, activations, variables
    )


def test_missing_gradient_is_named(graph):
    config = testing.feature_config()
    variables, (user, item, _) = _hooked(config)
    with pytest.raises(ValueError, match="Table 'user' has no gradient for its act"):
        training.get_gradients_through_dummy_table_variables(config)
    tf.gradients(tf.reduce_sum(user) + tf.reduce_sum(item), list(variables.values()))
    with pytest.raises(
        ValueError, match="Table 'item' has no gradient for its activation 1: "
    ):
        training.get_gradients_through_dummy_table_variables(config)


def test_second_gradient_is_refused(graph):
    variables, activations = _hooked(testing.feature_config())
    loss = tf.add_n([tf.reduce_sum(x) for x in activations])
    tf.gradients(loss, list(variables.values()))
    with pytest.raises(RuntimeError, match="multiple calls|more than once"):
        tf.gradients(loss, list(variables.values()))


def test_gradient_without_collection_is_refused(graph):
    dummy = tf1.get_variable("dummy", [1], use_resource=True)
    output = raw_ops.TPUEmbeddingActivations(
        embedding_variable=dummy,
        sliced_activations=tf.ones([2, 2]),
        table_id=0,
        lookup_id=0,
    )
    with pytest.raises(RuntimeError, match="non-training mode|no collection tpu_"):
        tf.gradients(output, dummy)


def test_gradient_of_unknown_lookup_is_refused(graph):
    config = testing.feature_config()
    variables, _ = training.create_dummy_table_variables(config)
    output = raw_ops.TPUEmbeddingActivations(
        embedding_variable=variables["user"],
        sliced_activations=tf.ones([4, 2]),
        table_id=0,
        lookup_id=1,
    )
    with pytest.raises(RuntimeError, match=r"outside .*\[0, 1\)"):
        tf.gradients(output, variables["user"])


def test_wrong_use_is_refused(graph):
    config = testing.feature_config()
    variables, activations = _hooked(config)
    with pytest.raises(ValueError, match="has dummy table variables already"):
        training.create_dummy_table_variables(config)
    with pytest.raises(ValueError, match="activations has 2 entries, but the config"):
        training.hook_dummy_table_variables_to_activations(
            config, activations[:2], variables
        )
    with pytest.raises(ValueError, match="learning_rates has 1 entries, but the"):
        training.generate_send_gradients_op(config, activations, [0.1])
    config.table_descriptor[1].name = "user"
    with tf.Graph().as_default():
        with pytest.raises(ValueError, match="Table name 'user' is empty or repeated"):
            training.create_dummy_table_variables(config)


def test_eager_mode_is_refused():
    with pytest.raises(RuntimeError, match="needs a graph, not eager mode"):
        training.create_dummy_table_variables(testing.feature_config())
