"""tf_embed.raw_ops: signatures as in tf.raw_ops, configs checked first."""

import ast
import inspect
import pathlib

import pytest
import raw_ops_stub
import tensorflow as tf
import testing

import tf_embed
from tf_embed import raw_ops

# Hidden from tf.raw_ops, so written out here: (arguments without default,
# those with).
_DEDUP_V2 = ["embedding_partitions", "hbm_buffers_config", "tpu_topology"]
_HIDDEN = {
    "CollateTPUEmbeddingMemory": (["memory_configs"], {}),
    "ComputeDedupDataSize": (["config"], {}),
    "ComputeDedupDataSizeV2": (["config", *_DEDUP_V2], {}),
    "ComputeDedupDataTupleMask": (["config"], {}),
    "ComputeDedupDataTupleMaskV2": (["config", *_DEDUP_V2], {}),
    "ConfigureTPUEmbeddingHost": (["common_config", "memory_config", "config"], {}),
    "ConfigureTPUEmbeddingMemory": (["common_config"], {}),
    "ConnectTPUEmbeddingHosts": (["network_configs"], {}),
    "EnqueueTPUEmbeddingBatch": (
        ["batch", "mode_override"],
        {"device_ordinal": -1, "combiners": []},
    ),
    "ExecuteTPUEmbeddingPartitioner": (["config"], {}),
    "FinalizeTPUEmbedding": (["common_config", "memory_config"], {}),
    "FinalizeTPUEmbeddingV2": (["common_config", "memory_config"], {}),
    "LoadAllTPUEmbeddingParameters": (
        [
            "parameters",
            *(f"auxiliary{i}" for i in range(1, 8)),
            "config",
            "num_shards",
            "shard_id",
        ],
        {},
    ),
    "MergeDedupData": (
        ["integer_tensor", "float_tensor", "tuple_mask"],
        {"config": ""},
    ),
    "RetrieveAllTPUEmbeddingParameters": (
        ["NumTables", "config", "num_shards", "shard_id"],
        {},
    ),
    "SplitDedupData": (
        ["input", "integer_type", "float_type", "tuple_mask"],
        {"config": ""},
    ),
    "XlaRecvTPUEmbeddingActivations": (
        ["deduplication_data", "num_tables", "config"],
        {},
    ),
    "XlaRecvTPUEmbeddingActivationsV2": (
        ["deduplication_data", "num_tables", "config", *_DEDUP_V2],
        {},
    ),
    "XlaRecvTPUEmbeddingDeduplicationData": (["config"], {}),
    "XlaRecvTPUEmbeddingDeduplicationDataV2": (["config", *_DEDUP_V2], {}),
    "XlaSendTPUEmbeddingGradients": (
        ["gradients", "learning_rates", "deduplication_data", "config"],
        {},
    ),
    "XlaSendTPUEmbeddingGradientsV2": (
        ["gradients", "learning_rates", "deduplication_data", "config", *_DEDUP_V2],
        {},
    ),
}


def _arguments(function):
    return [
        (parameter.name, parameter.default)
        for parameter in inspect.signature(function).parameters.values()
    ]


@pytest.mark.parametrize("op", [op for op in raw_ops.__all__ if op not in _HIDDEN])
def test_signature_is_that_of_tensorflow(op):
    assert _arguments(getattr(raw_ops, op)) == _arguments(getattr(tf.raw_ops, op))


@pytest.mark.parametrize("op", _HIDDEN)
def test_signature_of_hidden_op(op):
    required, optional = _HIDDEN[op]
    assert not hasattr(tf.raw_ops, op)
    assert _arguments(getattr(raw_ops, op)) == [
        *((name, inspect.Parameter.empty) for name in required),
        *optional.items(),
        ("name", None),
    ]


def test_every_op_of_the_family_is_there():
    public = {
        op for op in dir(tf.raw_ops) if "TPUEmbedding" in op or "DistributedTPU" in op
    }
    assert public | set(_HIDDEN) == set(raw_ops.__all__)


@pytest.mark.parametrize("op", raw_ops.__all__)
def test_docstring_documents_every_argument(op):
    function = getattr(raw_ops, op)
    assert function.__name__ == op
    for name in inspect.signature(function).parameters:
        assert f"\n  {name}: " in function.__doc__, name
    assert "\nReturns:\n" in function.__doc__


def test_stub_is_up_to_date():
    stub = pathlib.Path(tf_embed.__file__).with_name("raw_ops.pyi").read_text()
    assert stub == raw_ops_stub.stub(), "run tests/python/raw_ops_stub.py"
    functions = [
        node.name for node in ast.parse(stub).body if isinstance(node, ast.FunctionDef)
    ]
    assert functions == raw_ops.__all__


def test_arguments_are_keyword_only():
    with pytest.raises(TypeError, match="takes 0 positional arguments"):
        raw_ops.RecvTPUEmbeddingActivations(1, b"")
    with pytest.raises(TypeError, match="config"):
        raw_ops.RecvTPUEmbeddingActivations(num_outputs=1)
    with pytest.raises(TypeError, match="nonsense"):
        raw_ops.RecvTPUEmbeddingActivations(num_outputs=1, config=b"", nonsense=1)


@pytest.mark.parametrize("form", ["message", "bytes"])
def test_recv_builds_with_config_in_every_form(form):
    config = testing.feature_config()
    given = config if form == "message" else config.SerializeToString()
    with tf.Graph().as_default():
        outputs = raw_ops.RecvTPUEmbeddingActivations(
            num_outputs=3, config=given, name="recv"
        )
        assert outputs[0].op.name == "recv"
        assert outputs[0].op.get_attr("config") == config.SerializeToString(
            deterministic=True
        )
    assert [output.shape.as_list() for output in outputs] == [
        [4, 2],
        [4, 3],
        [4, 2, 3],
    ]


def test_recv_builds_in_table_dialect_with_str_config():
    config = testing.table_config()
    for table in config.table_descriptor:  # a float whose bytes are ASCII
        table.optimization_parameters.learning_rate.constant = 2.0
    with tf.Graph().as_default():
        outputs = raw_ops.RecvTPUEmbeddingActivations(
            num_outputs=2, config=config.SerializeToString().decode("ascii")
        )
    assert [output.shape.as_list() for output in outputs] == [[8, 2], [4, 4]]


def _call_recv(config, num_outputs=1):
    return raw_ops.RecvTPUEmbeddingActivations(num_outputs=num_outputs, config=config)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("table_id", [-1, 2, 2**31 - 1, -(2**31)])
def test_unknown_table_is_refused_where_tensorflow_crashes(graph, table_id):
    config = testing.feature_config()
    config.feature_descriptor[1].table_id = table_id
    calls = [
        lambda: _call_recv(config, 3),
        lambda: raw_ops.ConfigureTPUEmbedding(config=config),
        lambda: raw_ops.ConfigureDistributedTPU(tpu_embedding_config=config),
        lambda: raw_ops.ExecuteTPUEmbeddingPartitioner(config=config),
        lambda: raw_ops.SendTPUEmbeddingGradients(
            inputs=[[0.0]], learning_rates=[], config=config
        ),
    ]
    for call in calls:
        context = tf.Graph().as_default() if graph else tf.init_scope()
        with context, pytest.raises(ValueError) as error:
            call()
        assert (
            f"onfig: feature 'item' at position 1 has table_id {table_id}, outside"
            " [0, 2)" in str(error.value)
        )


def test_malformed_config_is_refused():
    with pytest.raises(ValueError, match="Malformed config: not a serialized"):
        _call_recv(b"\x0a\xff")
    with pytest.raises(ValueError, match="Malformed tpu_embedding_config"):
        raw_ops.ConfigureDistributedTPU(tpu_embedding_config=b"\x0a\xff")


def test_config_of_other_type_is_refused():
    with pytest.raises(
        TypeError, match="config must be bytes, str or a TPUEmbeddingConfig.* got int"
    ):
        _call_recv(3)


def test_output_count_is_checked():
    with pytest.raises(
        ValueError, match="num_outputs is 2, but the config has 3 features"
    ):
        _call_recv(testing.feature_config(), 2)
    with pytest.raises(
        ValueError, match="num_outputs is 3, but the config has 2 tables"
    ):
        _call_recv(testing.table_config(), 3)


def test_gradient_count_is_checked():
    with pytest.raises(
        ValueError, match="inputs has 1 entries, but the config has 3 features"
    ):
        raw_ops.SendTPUEmbeddingGradients(
            inputs=[[1.0]], learning_rates=[], config=testing.feature_config()
        )


def test_learning_rate_count_is_checked():
    config = testing.table_config()
    rates = config.table_descriptor[1].optimization_parameters.learning_rate
    rates.dynamic.tag = 0
    gradients = [tf.zeros([8, 2]), tf.zeros([4, 4])]
    with pytest.raises(
        ValueError,
        match="learning_rates has 2 entries, but the config has 1 dynamic",
    ):
        raw_ops.SendTPUEmbeddingGradients(
            inputs=gradients, learning_rates=[0.1, 0.2], config=config
        )


def test_step_counter_is_a_learning_rate_though_it_is_not_set():
    config = testing.table_config()
    config.table_descriptor[
        0
    ].optimization_parameters.frequency_aware_adagrad.SetInParent()
    with pytest.raises(ValueError, match="the config has 1 dynamic"):
        raw_ops.SendTPUEmbeddingGradients(
            inputs=[tf.zeros([8, 2]), tf.zeros([4, 4])],
            learning_rates=[],
            config=config,
        )


def test_table_count_of_retrieve_all_is_checked():
    with pytest.raises(ValueError, match="NumTables is 3, but the config has 2 tables"):
        raw_ops.RetrieveAllTPUEmbeddingParameters(
            NumTables=3, config=testing.table_config(), num_shards=1, shard_id=0
        )


def test_empty_config_is_left_to_the_op():
    with tf.Graph().as_default(), pytest.raises(ValueError, match="num outputs"):
        _call_recv(b"")


def test_hidden_op_builds_in_graph_and_function():
    config = testing.table_config()
    with tf.Graph().as_default():
        data = raw_ops.XlaRecvTPUEmbeddingDeduplicationData(config=config)
        assert data.dtype == tf.variant

    @tf.function
    def retrieve():
        return raw_ops.RetrieveAllTPUEmbeddingParameters(
            NumTables=2, config=config, num_shards=1, shard_id=0
        )

    outputs = retrieve.get_concrete_function().structured_outputs
    assert outputs._fields[:2] == ("parameters", "auxiliary1")
    assert [len(tensors) for tensors in outputs] == [2] * 8


def test_mutated_configs_never_crash():
    """Mutated bytes reach every op whose shape function reads the config."""
    result = testing.run_python(
        """
        import random, sys
        import tensorflow as tf, testing
        from tf_embed import raw_ops
        rng = random.Random(SEED)
        seeds = [c.SerializeToString()
                 for c in (testing.feature_config(), testing.table_config())]
        accepted = 0
        for trial in range(1500):
            config = bytearray(rng.choice(seeds))
            for _ in range(rng.randint(1, 4)):
                at = rng.randrange(len(config))
                config[at : at + rng.randint(0, 2)] = rng.randbytes(rng.randint(0, 2))
            config = bytes(config)
            print(SEED, trial, config.hex(), file=sys.stderr)
            for call in [
                lambda: raw_ops.RecvTPUEmbeddingActivations(
                    num_outputs=3, config=config),
                lambda: raw_ops.XlaRecvTPUEmbeddingActivations(
                    deduplication_data=tf.raw_ops.EmptyTensorList(
                        element_shape=0, max_num_elements=0, element_dtype=tf.int32),
                    num_tables=2, config=config),
                lambda: raw_ops.ExecuteTPUEmbeddingPartitioner(config=config),
                lambda: raw_ops.RetrieveAllTPUEmbeddingParameters(
                    NumTables=2, config=config, num_shards=1, shard_id=0),
            ]:
                try:
                    with tf.Graph().as_default():
                        call()
                    accepted += 1
                except (ValueError, tf.errors.OpError):
                    pass
        print(accepted)
    """.replace("SEED", "20261121")
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert int(result.stdout) > 100
