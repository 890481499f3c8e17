"""tf_embed.raw_ops run eagerly, in functions and in graphs: same numbers."""

import functools

import numpy as np
import pytest
import tensorflow as tf
import testing

import tf_embed
from tf_embed import raw_ops

_USER = [1, 1, 7, 0]
_ITEM = [5, 2, 2, 3]
_SEEN = [[0, 1], [2], [], [5, 5]]


@pytest.fixture(params=testing.MODES)
def run(request):
    tf_embed.shutdown()
    tf_embed.set_recv_timeout(30)
    yield functools.partial(testing.run_in, request.param)
    tf_embed.shutdown()
    tf_embed.set_recv_timeout(None)


@pytest.fixture
def tables():
    rng = np.random.default_rng(3)
    return (
        rng.normal(size=(8, 2)).astype(np.float32),
        rng.normal(size=(6, 3)).astype(np.float32),
    )


def _enqueue():
    splits, seen = testing.ragged(_SEEN)
    return raw_ops.EnqueueTPUEmbeddingArbitraryTensorBatch(
        sample_indices_or_row_splits=[testing.NONE, testing.NONE, splits],
        embedding_indices=[
            np.array(_USER, np.int64),
            np.array(_ITEM, np.int64),
            seen,
        ],
        aggregation_weights=[testing.NO_WEIGHTS] * 3,
        mode_override="train",
    )


def _load(tables):
    operations = [
        raw_ops.LoadTPUEmbeddingStochasticGradientDescentParameters(
            parameters=values, table_name=name, num_shards=1, shard_id=0
        )
        for name, values in zip(("user", "item"), tables, strict=True)
    ]
    return None if None in operations else operations


def _retrieve():
    return [
        raw_ops.RetrieveTPUEmbeddingStochasticGradientDescentParameters(
            table_name=name, num_shards=1, shard_id=0
        )
        for name in ("user", "item")
    ]


def _expected_activations(tables):
    user, item = tables
    seen = np.zeros((4, 2, 3), np.float32)
    for sample, bag in enumerate(_SEEN):
        for position, row in enumerate(bag):
            seen[sample, position] = item[row]
    return user[_USER], item[_ITEM], seen


def _updated(tables):
    """After gradients of 1 everywhere, at learning rate 0.1."""
    user, item = (values.astype(np.float64) for values in tables)
    for row in _USER:
        user[row] -= 0.1
    for row in (*_ITEM, *sum(_SEEN, [])):
        item[row] -= 0.1
    return user, item


def test_named_ops(run, tables):
    config = testing.feature_config()
    assert not run(lambda: raw_ops.IsTPUEmbeddingInitialized())
    run(lambda: raw_ops.ConfigureTPUEmbedding(config=config))
    assert run(lambda: raw_ops.IsTPUEmbeddingInitialized())
    run(lambda: _load(tables))
    run(_enqueue)
    activations = run(
        lambda: raw_ops.RecvTPUEmbeddingActivations(num_outputs=3, config=config)
    )
    for got, expected in zip(activations, _expected_activations(tables), strict=True):
        np.testing.assert_array_equal(got, expected)
    hooked = run(
        lambda: raw_ops.TPUEmbeddingActivations(
            embedding_variable=[0.0],
            sliced_activations=activations[2],
            table_id=1,
            lookup_id=1,
        )
    )
    np.testing.assert_array_equal(hooked, activations[2])
    run(
        lambda: raw_ops.SendTPUEmbeddingGradients(
            inputs=[np.ones_like(x) for x in activations],
            learning_rates=[],
            config=config,
        )
    )
    for got, expected in zip(run(_retrieve), _updated(tables), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_hidden_ops(run, tables):
    config = testing.feature_config()
    empty = np.zeros([0, 0], np.float32)

    def configure():
        common = raw_ops.ExecuteTPUEmbeddingPartitioner(config=config)
        memory = raw_ops.CollateTPUEmbeddingMemory(
            memory_configs=[raw_ops.ConfigureTPUEmbeddingMemory(common_config=common)]
        )
        network = raw_ops.ConfigureTPUEmbeddingHost(
            common_config=common, memory_config=memory, config=config
        )
        connect = raw_ops.ConnectTPUEmbeddingHosts(network_configs=[network])
        with tf.control_dependencies([] if connect is None else [connect]):
            return raw_ops.FinalizeTPUEmbedding(
                common_config=common, memory_config=memory
            )

    def step():
        data = raw_ops.XlaRecvTPUEmbeddingDeduplicationData(config=config)
        activations = raw_ops.XlaRecvTPUEmbeddingActivations(
            deduplication_data=data, num_tables=3, config=config
        )
        with tf.control_dependencies(activations):
            send = raw_ops.XlaSendTPUEmbeddingGradients(
                gradients=[tf.ones_like(x) for x in activations],
                learning_rates=[],
                deduplication_data=data,
                config=config,
            )
        with tf.control_dependencies([] if send is None else [send]):
            return [tf.identity(x) for x in activations]

    run(configure)
    assert tf_embed.stats().configured
    # Gradient accumulation is on: one more variable, the accumulators.
    run(
        lambda: raw_ops.LoadAllTPUEmbeddingParameters(
            parameters=list(tables),
            auxiliary1=[np.zeros_like(x) for x in tables],
            **{f"auxiliary{i}": [empty, empty] for i in range(2, 8)},
            config=config,
            num_shards=1,
            shard_id=0,
        )
    )
    run(_enqueue)
    for got, expected in zip(run(step), _expected_activations(tables), strict=True):
        np.testing.assert_array_equal(got, expected)
    parameters, auxiliary1, auxiliary2, *_ = run(
        lambda: raw_ops.RetrieveAllTPUEmbeddingParameters(
            NumTables=2, config=config, num_shards=1, shard_id=0
        )
    )
    for got, expected in zip(parameters, _updated(tables), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
    assert [x.shape for x in auxiliary1] == [(8, 2), (6, 3)]
    assert [x.shape for x in auxiliary2] == [(0, 0), (0, 0)]


def test_batch_of_serialized_samples_is_unimplemented(run):
    run(lambda: raw_ops.ConfigureTPUEmbedding(config=testing.feature_config()))
    with pytest.raises(tf.errors.UnimplementedError, match="EnqueueTPUEmbeddingBatch"):
        run(
            lambda: raw_ops.EnqueueTPUEmbeddingBatch(
                batch=["", ""], mode_override="train"
            )
        )


def test_before_configuration_every_op_says_so(run):
    config = testing.feature_config()
    for program in [
        _enqueue,
        _retrieve,
        lambda: raw_ops.RecvTPUEmbeddingActivations(num_outputs=3, config=config),
    ]:
        with pytest.raises(tf.errors.FailedPreconditionError, match="not configured"):
            run(program)


def test_list_of_tables_is_checked_against_the_engine(run):
    run(lambda: raw_ops.ConfigureTPUEmbedding(config=testing.feature_config()))
    other = testing.feature_config()
    other.table_descriptor[0].vocabulary_size = 9
    with pytest.raises(tf.errors.InvalidArgumentError, match="vocabulary_size"):
        run(lambda: raw_ops.RecvTPUEmbeddingActivations(num_outputs=3, config=other))
