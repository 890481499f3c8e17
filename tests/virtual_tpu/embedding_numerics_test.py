"""The same embedding training on any number of cores, and with variables."""

import json

import numpy as np
import pytest
from vtpu_testing import run_program

# A sum of embeddings, tanh, and a product; tables and weights learn by SGD.
TRAIN = """
import json
import numpy as np
import tensorflow as tf
import tf_embed

MIRRORED = {mirrored}
BATCH, ROWS, WIDTH, IDS, RATE = {batch}, 50, 8, 3, 0.1
if MIRRORED:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
else:
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
    tf.tpu.experimental.initialize_tpu_system(resolver)
    strategy = tf.distribute.TPUStrategy(resolver)
random = np.random.default_rng(7)
table = random.normal(size=(ROWS, WIDTH)).astype(np.float32)
ids = random.integers(0, ROWS, size=(BATCH, IDS))
y = np.cos(ids.sum(axis=1)).astype(np.float32)
embedding = tf.tpu.experimental.embedding
with strategy.scope():
    w = tf.Variable(random.normal(size=WIDTH).astype(np.float32) * 0.3)
    if MIRRORED:
        rows = tf.Variable(table)
    else:
        config = embedding.TableConfig(
            ROWS, WIDTH, lambda shape, dtype, **_: tf.constant(table), combiner="sum")
        engine = embedding.TPUEmbedding(
            embedding.FeatureConfig(
                config, output_shape=[BATCH // strategy.num_replicas_in_sync]),
            embedding.SGD(RATE))

def dataset(context):
    data = tf.data.Dataset.from_tensor_slices((ids, y))
    data = data.batch(context.get_per_replica_batch_size(BATCH), True)
    if not MIRRORED:
        data = data.map(lambda ids, y: (tf.RaggedTensor.from_tensor(ids), y))
    return data.repeat()

options = tf.distribute.InputOptions(experimental_fetch_to_device=False)
iterator = iter(strategy.distribute_datasets_from_function(dataset, options))

def step_fn(ids, y):
    if MIRRORED:
        activations = tf.reduce_sum(tf.gather(rows, ids), axis=1)
    else:
        activations = engine.dequeue()
    with tf.GradientTape() as tape:
        tape.watch(activations)
        error = tf.linalg.matvec(tf.tanh(activations), w) - y
        loss = tf.reduce_sum(error * error) / BATCH
    of_table, of_w = tape.gradient(loss, (activations, w))
    context = tf.distribute.get_replica_context()
    if MIRRORED:
        each = tf.repeat(of_table[:, None], IDS, axis=1)
        full = tf.scatter_nd(ids[..., None], each, [ROWS, WIDTH])
        rows.assign_sub(RATE * context.all_reduce("sum", full))
    else:
        engine.apply_gradients(of_table)
    w.assign_sub(RATE * context.all_reduce("sum", of_w))
    return loss

@tf.function
def step(iterator):
    ids, y = next(iterator)
    if not MIRRORED:
        engine.enqueue(ids, training=True)
    return strategy.reduce("sum", strategy.run(step_fn, (ids, y)), axis=None)

losses = [float(step(iterator)) for _ in range(20)]
print("LOSSES", json.dumps(losses))
"""


def losses(cores, mirrored=False, batch=32, timeout=120):
    program = TRAIN.format(mirrored=mirrored, batch=batch)
    done = run_program(program, cores=cores, timeout=timeout)
    assert done.returncode == 0, done.stderr
    line = next(x for x in done.stdout.splitlines() if x.startswith("LOSSES"))
    return json.loads(line.removeprefix("LOSSES "))


@pytest.fixture(scope="module")
def one_core():
    return losses(1)


def test_training_makes_progress(one_core):
    assert one_core[-1] < 0.75 * one_core[0]


@pytest.mark.parametrize("cores", [2, 4, 8])
def test_any_number_of_cores_ends_alike(one_core, cores):
    # Only the order of the sums over the batch differs.
    np.testing.assert_allclose(losses(cores), one_core, rtol=2e-5)


def test_variables_under_mirrored_strategy_end_alike(one_core):
    np.testing.assert_allclose(losses(None, mirrored=True), one_core, rtol=2e-5)


def test_same_bits_each_time():
    assert losses(4) == losses(4)
