"""Every op of tf_embed.raw_ops: eagerly, in a tf.function and in a session.

Each meets the same small engine. What it returns, and what it does to the
engine, has to be the same in all three.
"""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import testing
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow.core.protobuf.tpu.tpu_embedding_configuration_pb2 import (
    TPUEmbeddingConfiguration,
)
from tensorflow.python.framework import op_def_registry

import tf_embed
from tf_embed import raw_ops
from tf_embed.engine_stats_pb2 import EngineStats

# Tables a (5x2, 2 features) and b (3x4, 1 feature), batches of 4.
_CONFIG = testing.table_config()
_SHARD = {"num_shards": 1, "shard_id": 0}
_V2 = {"embedding_partitions": "", "hbm_buffers_config": "", "tpu_topology": ""}
_GRADIENTS = [np.ones([8, 2], np.float32), np.ones([4, 4], np.float32)]
# One integer. make_tensor_proto would write it where graphs do not look.
_MASK = tensor_pb2.TensorProto(
    dtype=types_pb2.DT_INT32,
    tensor_shape=tf.TensorShape([1, 2]).as_proto(),
    int_val=[0, 1],
).SerializeToString()


def _ids(*lists):
    return [np.array(ids, np.int64) for ids in lists]


def _indices(*lists):
    return [np.array(indices, np.int32) for indices in lists]


def _weights(*lists):
    return [np.array(weights, np.float32) for weights in lists]


_RAGGED = {
    "sample_splits": _indices([0, 2, 2, 3, 3], [0, 0, 1, 1, 1], [0, 1, 2, 3, 4]),
    "embedding_indices": _ids([4, 1, 2], [3], [0, 1, 2, 2]),
    "aggregation_weights": _weights([1, 2, 3], [], []),
    "mode_override": "train",
    "table_ids": [0, 0, 1],
    "combiners": ["mean", "sum"],
}
_ARBITRARY = {
    "sample_indices_or_row_splits": _indices([], [0, 2, 2, 3, 3]),
    "embedding_indices": _ids([0, 1, 2, 3, 4, 0, 1, 2], [0, 1, 2]),
    "aggregation_weights": _weights([], [1, 2, 3]),
    "mode_override": "train",
    "combiners": ["sum", "sqrtn"],
}
_CORE = {"device_ordinal": np.int32(0)}
_ENQUEUES = {
    "EnqueueTPUEmbeddingIntegerBatch": {
        "batch": _indices([0, 1, 2, 3, 4, 0, 1, 2], [0, 1, 2, 2]),
        "mode_override": "train",
    },
    "EnqueueTPUEmbeddingSparseBatch": {
        "sample_indices": _indices([0, 0, 7], [3]),
        "embedding_indices": _ids([1, 2, 3], [0]),
        "aggregation_weights": _weights([1, 2, 3], []),
        "mode_override": "train",
    },
    "EnqueueTPUEmbeddingSparseTensorBatch": {
        "sample_indices": _indices([[0, 0], [2, 1]], [[3, 0]], [[1, 0], [1, 1]]),
        "embedding_indices": _ids([1, 2], [3], [0, 2]),
        "aggregation_weights": _weights([], [2], []),
        "mode_override": "train",
        "table_ids": [0, 0, 1],
    },
    "EnqueueTPUEmbeddingRaggedTensorBatch": _RAGGED,
    "EnqueueTPUEmbeddingArbitraryTensorBatch": _ARBITRARY,
    "DynamicEnqueueTPUEmbeddingRaggedTensorBatch": _RAGGED | _CORE,
    "DynamicEnqueueTPUEmbeddingArbitraryTensorBatch": _ARBITRARY | _CORE,
}


def _enqueue():
    raw_ops.EnqueueTPUEmbeddingArbitraryTensorBatch(**_ARBITRARY)


def _recv(config=_CONFIG):
    return raw_ops.RecvTPUEmbeddingActivations(
        num_outputs=len(config.table_descriptor), config=config
    )


def _values(config, variable):
    """Numbers that tell tables and variables apart."""
    return [
        (100 * variable + 10 * t)
        + np.arange(d.vocabulary_size * d.dimension, dtype=np.float32).reshape(
            d.vocabulary_size, d.dimension
        )
        for t, d in enumerate(config.table_descriptor)
    ]


def _load_all(variable):
    """SGD: parameters, and accumulated gradients that nobody reads."""
    none = [np.zeros([0, 0], np.float32)] * 2
    return raw_ops.LoadAllTPUEmbeddingParameters(
        parameters=_values(_CONFIG, variable),
        auxiliary1=_values(_CONFIG, 0),
        **{f"auxiliary{i}": none for i in range(2, 8)},
        config=_CONFIG,
        **_SHARD,
    )


def _retrieve_all(config):
    return raw_ops.RetrieveAllTPUEmbeddingParameters(
        NumTables=len(config.table_descriptor), config=config, **_SHARD
    )


@dataclasses.dataclass
class _Call:
    """An op and what has to be there before it."""

    call: Callable
    engine: bool = True
    batch: bool = False  # whether one is enqueued
    received: bool = False  # and received
    config: TPUEmbeddingConfiguration = dataclasses.field(
        default_factory=testing.table_config
    )

    def prepare(self):
        tf_embed.shutdown()
        if self.engine:
            raw_ops.ConfigureTPUEmbedding(config=self.config)
        if self.engine and self.config == _CONFIG:
            _load_all(1)
        if self.batch:
            _enqueue()
        if self.received:
            _recv()

    def state(self):
        """Counters, tables, and what the next batch gives."""
        stats = tf_embed.stats()
        if not stats.configured:
            return [False]
        counters = [
            getattr(stats, field.name)
            for field in EngineStats.DESCRIPTOR.fields
            if field.name.startswith(("batches_", "steps_"))
        ]
        tables = tf.nest.flatten(_retrieve_all(self.config))
        batches = _recv(self.config) if any(stats.queue_depth) else []
        return [True, *counters, *map(np.asarray, [*tables, *batches])]


def _ticket(version=""):
    return getattr(raw_ops, f"XlaRecvTPUEmbeddingDeduplicationData{version}")(
        config=_CONFIG, **(_V2 if version else {})
    )


def _xla_recv(ticket, version=""):
    return getattr(raw_ops, f"XlaRecvTPUEmbeddingActivations{version}")(
        deduplication_data=ticket,
        num_tables=2,
        config=_CONFIG,
        **(_V2 if version else {}),
    )


def _xla_send(version=""):
    return getattr(raw_ops, f"XlaSendTPUEmbeddingGradients{version}")(
        gradients=_GRADIENTS,
        learning_rates=[],
        deduplication_data=_ticket(version),
        config=_CONFIG,
        **(_V2 if version else {}),
    )


def _split_and_merge():
    integers, floats = raw_ops.SplitDedupData(
        input=_ticket(),
        integer_type=tf.int32,
        float_type=tf.float32,
        tuple_mask=_MASK,
    )
    merged = raw_ops.MergeDedupData(
        integer_tensor=integers, float_tensor=floats, tuple_mask=_MASK
    )
    return _xla_recv(merged)


def _partitioner():
    return raw_ops.ExecuteTPUEmbeddingPartitioner(config=_CONFIG)


def _memory():
    return raw_ops.ConfigureTPUEmbeddingMemory(common_config=_partitioner())


def _collate():
    return raw_ops.CollateTPUEmbeddingMemory(memory_configs=[_memory(), _memory()])


def _host():
    return raw_ops.ConfigureTPUEmbeddingHost(
        common_config=_partitioner(), memory_config=_collate(), config=_CONFIG
    )


def _finalize(op):
    return op(common_config=_partitioner(), memory_config=_collate())


def _calls_of_optimizers():
    """Load and Retrieve of each optimizer, whose inputs name its variables."""
    calls = {}
    fields = testing.new_config().table_descriptor.add().optimization_parameters
    of_lower_case = {
        f.name.replace("_", ""): f.name for f in fields.DESCRIPTOR.oneofs[0].fields
    }
    for name in raw_ops.__all__:
        if not name.startswith("LoadTPUEmbedding"):
            continue
        suffix = name.removeprefix("Load")
        optimizer = suffix.removeprefix("TPUEmbedding").removesuffix("Parameters")
        field = of_lower_case[optimizer.lower()]
        config = testing.new_config()
        config.batch_size_per_tensor_core = 4
        table = config.table_descriptor.add(
            name="t", vocabulary_size=3, dimension=1, num_features=1
        )
        getattr(table.optimization_parameters, field).SetInParent()
        if field == "adagrad_momentum":
            table.optimization_parameters.adagrad_momentum.exponent = 2
            table.optimization_parameters.adagrad_momentum.epsilon = 1
        variables = {
            arg.name: _values(config, i + 1)[0]
            for i, arg in enumerate(op_def_registry.get(name).input_arg)
        }
        load = functools.partial(
            getattr(raw_ops, name), **variables, table_name="t", **_SHARD
        )
        retrieve = functools.partial(
            getattr(raw_ops, f"Retrieve{suffix}"), table_id=0, **_SHARD
        )
        calls[name] = _Call(load, config=config)
        calls[f"Retrieve{suffix}"] = _Call(retrieve, config=config)
    return calls


_CALLS = {
    "CollateTPUEmbeddingMemory": _Call(_collate, engine=False),
    "ComputeDedupDataSize": _Call(lambda: raw_ops.ComputeDedupDataSize(config=_CONFIG)),
    "ComputeDedupDataSizeV2": _Call(
        lambda: raw_ops.ComputeDedupDataSizeV2(config=_CONFIG, **_V2)
    ),
    "ComputeDedupDataTupleMask": _Call(
        lambda: raw_ops.ComputeDedupDataTupleMask(config=_CONFIG)
    ),
    "ComputeDedupDataTupleMaskV2": _Call(
        lambda: raw_ops.ComputeDedupDataTupleMaskV2(config=_CONFIG, **_V2)
    ),
    "ConfigureDistributedTPU": _Call(
        lambda: raw_ops.ConfigureDistributedTPU(tpu_embedding_config=_CONFIG),
        engine=False,
    ),
    "ConfigureTPUEmbedding": _Call(
        lambda: raw_ops.ConfigureTPUEmbedding(config=_CONFIG), engine=False
    ),
    "ConfigureTPUEmbeddingHost": _Call(_host, engine=False),
    "ConfigureTPUEmbeddingMemory": _Call(_memory, engine=False),
    "ConnectTPUEmbeddingHosts": _Call(
        lambda: raw_ops.ConnectTPUEmbeddingHosts(network_configs=[_host(), _host()]),
        engine=False,
    ),
    "ExecuteTPUEmbeddingPartitioner": _Call(_partitioner, engine=False),
    "FinalizeTPUEmbedding": _Call(
        lambda: _finalize(raw_ops.FinalizeTPUEmbedding), engine=False
    ),
    "FinalizeTPUEmbeddingV2": _Call(
        lambda: _finalize(raw_ops.FinalizeTPUEmbeddingV2), engine=False
    ),
    "IsTPUEmbeddingInitialized": _Call(
        lambda: raw_ops.IsTPUEmbeddingInitialized(config=_CONFIG)
    ),
    "LoadAllTPUEmbeddingParameters": _Call(lambda: _load_all(2)),
    "MergeDedupData": _Call(_split_and_merge, batch=True),
    "RecvTPUEmbeddingActivations": _Call(_recv, batch=True),
    "RetrieveAllTPUEmbeddingParameters": _Call(lambda: _retrieve_all(_CONFIG)),
    "SendTPUEmbeddingGradients": _Call(
        lambda: raw_ops.SendTPUEmbeddingGradients(
            inputs=_GRADIENTS, learning_rates=[], config=_CONFIG
        ),
        batch=True,
        received=True,
    ),
    "ShutdownDistributedTPU": _Call(raw_ops.ShutdownDistributedTPU),
    "SplitDedupData": _Call(_split_and_merge, batch=True),
    "TPUEmbeddingActivations": _Call(
        lambda: raw_ops.TPUEmbeddingActivations(
            embedding_variable=[0.0],
            sliced_activations=[[1.0, 2.0]],
            table_id=0,
            lookup_id=0,
        ),
        engine=False,
    ),
    "XlaRecvTPUEmbeddingActivations": _Call(lambda: _xla_recv(_ticket()), batch=True),
    "XlaRecvTPUEmbeddingActivationsV2": _Call(
        lambda: _xla_recv(_ticket("V2"), "V2"), batch=True
    ),
    "XlaRecvTPUEmbeddingDeduplicationData": _Call(
        lambda: _xla_recv(_ticket(), "V2"), batch=True
    ),
    "XlaRecvTPUEmbeddingDeduplicationDataV2": _Call(
        lambda: _xla_recv(_ticket("V2")), batch=True
    ),
    "XlaSendTPUEmbeddingGradients": _Call(_xla_send, batch=True),
    "XlaSendTPUEmbeddingGradientsV2": _Call(lambda: _xla_send("V2"), batch=True),
    **{
        name: _Call(functools.partial(getattr(raw_ops, name), **given))
        for name, given in _ENQUEUES.items()
    },
    **_calls_of_optimizers(),
}

# Its input's format is not public.
_UNIMPLEMENTED = {"EnqueueTPUEmbeddingBatch"}
# It has nothing to return and, with one host, nothing to do.
_WITHOUT_EFFECT = {"ConnectTPUEmbeddingHosts"}


@pytest.fixture(autouse=True)
def _time_limit():
    tf_embed.set_recv_timeout(30)
    yield
    tf_embed.set_recv_timeout(None)
    tf_embed.shutdown()


def test_no_op_is_forgotten():
    assert set(_CALLS) | _UNIMPLEMENTED == set(raw_ops.__all__)


@pytest.mark.parametrize("op", _CALLS)
def test_same_in_every_mode(op):
    call = _CALLS[op]
    call.prepare()
    before = call.state()
    seen = []
    for run in testing.MODES:
        call.prepare()
        result = testing.run_in(run, call.call)
        seen.append((result, call.state()))
    eager, *others = seen
    for other in others:
        tf.nest.map_structure(np.testing.assert_array_equal, other, eager)
    if not op_def_registry.get(op).output_arg and op not in _WITHOUT_EFFECT:
        assert not all(map(np.array_equal, before, eager[1]))
