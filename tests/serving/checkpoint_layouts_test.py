"""Checkpoints as large TPU jobs write them: sharded over hosts, and SparseCore's."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.tpu.kernels import sparse_core_layout_pb2
from tensorflow.python.distribute import sharded_variable

import tf_embed

embedding = tf.tpu.experimental.embedding


def _features(optimizer=None):
    video = embedding.TableConfig(10, 3, optimizer=optimizer, name="video")
    user = embedding.TableConfig(5, 3, optimizer=optimizer, name="user")
    return {
        "watched": embedding.FeatureConfig(video),
        "who": embedding.FeatureConfig(user),
    }


def _numbers(rows, start):
    return np.arange(start, start + 3 * rows, dtype=np.float32).reshape(rows, 3)


@pytest.fixture(params=["before build", "after build"])
def restore(request):
    """Restores a checkpoint into an object, before or after it is built."""

    def run(layer, path):
        if request.param == "after build":
            layer.build()
        status = tf.train.Checkpoint(embedding=layer).restore(path)
        layer.build()
        return status

    return run


def _check(layer, video, user):
    tables = {config.name: table for config, table in layer.embedding_tables.items()}
    np.testing.assert_array_equal(tables["video"], video)
    np.testing.assert_array_equal(tables["user"], user)
    outputs = layer({"watched": tf.constant([9, 0]), "who": tf.constant([4])})
    np.testing.assert_array_equal(outputs["watched"], video[[9, 0]])
    np.testing.assert_array_equal(outputs["who"], user[[4]])


def test_tables_and_slots_sharded_over_hosts(restore, tmp_path):
    # What the hosts hold: rows as even as they go, no shard for the fourth host
    # of a table of fewer rows.
    saved = tf.train.Checkpoint()
    numbers = {
        "video": _numbers(10, 100),
        "video/accumulators": _numbers(10, 200),
        "user": _numbers(5, 300),
        "user/accumulators": _numbers(5, 400),
    }
    sizes = {"video": [4, 4, 2], "user": [2, 2, 1]}
    for name, values in numbers.items():
        ends = np.cumsum(sizes[name.split("/")[0]])
        parts = np.split(values, ends[:-1])
        shards = [tf.Variable(part, name=f"{name}_{i}") for i, part in enumerate(parts)]
        saved._track_trackable(sharded_variable.ShardedVariable(shards), name)
    path = tf.train.Checkpoint(embedding=saved).save(str(tmp_path / "ckpt"))
    layer = tf_embed.TPUEmbeddingForServing(_features(), embedding.Adagrad(0.1))
    restore(layer, path).expect_partial()
    _check(layer, numbers["video"], numbers["user"])
    for table in ("video", "user"):
        np.testing.assert_array_equal(
            layer._variables[table]["accumulators"], numbers[f"{table}/accumulators"]
        )


# Two tables stacked onto four cores: row i of a table lies on the core
# (i + rotation) % 4, behind what earlier tables have there.
_CORES = 4
_PADDED_DIM = 8


def _stack(tables, rotations):
    rows_of = [-(-len(table) // _CORES) for table in tables]
    stacked = np.full([_CORES, sum(rows_of), _PADDED_DIM], -1, np.float32)
    offset = 0
    for table, rotation, rows in zip(tables, rotations, rows_of, strict=True):
        for i, row in enumerate(table):
            stacked[(i + rotation) % _CORES, offset + i // _CORES, :3] = row
        offset += rows
    return stacked.reshape(-1, _PADDED_DIM)


def test_sparse_core_layout(tmp_path):
    video, user = _numbers(10, 100), _numbers(5, 300)
    layouts = sparse_core_layout_pb2.SparseCoreTableLayouts()
    offset = 0
    for name, table, rotation in (("video", video, 0), ("user", user, 1)):
        layout = layouts.tables.add(
            table_name=name,
            stacked_table_name="stack",
            num_sparse_cores=_CORES,
            num_partitions=2,
            sparse_core_shard_row_offset=offset,
            sparse_core_shard_rotation=rotation,
            unsharded_shape=table.shape,
            unsharded_padded_shape=[-(-len(table) // _CORES) * _CORES, _PADDED_DIM],
        )
        offset += layout.unsharded_padded_shape[0] // _CORES
    saved = tf.train.Checkpoint()
    saved._track_trackable(
        tf.Variable(layouts.SerializeToString()), "_sparse_core_table_layouts"
    )
    saved._track_trackable(tf.Variable(_stack([video, user], [0, 1])), "stack")
    path = tf.train.Checkpoint(embedding=saved).save(str(tmp_path / "ckpt"))
    # The layouts are needed to make the variables: restore, then build.
    layer = tf_embed.TPUEmbeddingForServing(_features(), None)
    tf.train.Checkpoint(embedding=layer).restore(path).expect_partial()
    layer.build()
    _check(layer, video, user)
    small = tf_embed.quantize(layer, "int8")
    # Rows span 2: half of a 255th of that, and some rounding of 300.
    np.testing.assert_allclose(
        small({"who": tf.range(5)})["who"], user, rtol=0, atol=1 / 255 + 1e-4
    )
