"""The same training with any number of cores, and with MirroredStrategy."""

import json

import numpy as np
import pytest
from vtpu_testing import run_program

# Full-batch training of a small network; prints the losses' bits.
TRAIN = """
import json, sys
import numpy as np
import tensorflow as tf
import tf_embed

MIRRORED = {mirrored}
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
x = random.normal(size=(64, 16)).astype(np.float32)
y = np.sin(x.sum(axis=1, keepdims=True)).astype(np.float32)
with strategy.scope():
    w1 = tf.Variable(random.normal(size=(16, 32)).astype(np.float32) * 0.3)
    w2 = tf.Variable(random.normal(size=(32, 1)).astype(np.float32) * 0.3)
data = tf.data.Dataset.from_tensor_slices((x, y)).batch(64).repeat()
iterator = iter(strategy.experimental_distribute_dataset(data))

def step_fn(x, y):
    with tf.GradientTape() as tape:
        error = tf.matmul(tf.nn.tanh(tf.matmul(x, w1)), w2) - y
        loss = tf.reduce_sum(error * error) / 64.0
    context = tf.distribute.get_replica_context()
    gradients = context.all_reduce("sum", tape.gradient(loss, [w1, w2]))
    w1.assign_sub(0.1 * gradients[0])
    w2.assign_sub(0.1 * gradients[1])
    return loss

@tf.function
def step(iterator):
    return strategy.reduce("sum", strategy.run(step_fn, next(iterator)), axis=None)

losses = [float(step(iterator)) for _ in range(20)]
print("LOSSES", json.dumps(losses))
"""


def losses(cores, mirrored=False):
    done = run_program(TRAIN.format(mirrored=mirrored), cores=cores)
    assert done.returncode == 0, done.stderr
    line = next(x for x in done.stdout.splitlines() if x.startswith("LOSSES"))
    return json.loads(line.removeprefix("LOSSES "))


@pytest.fixture(scope="module")
def one_core():
    return losses(1)


def test_training_makes_progress(one_core):
    assert one_core[-1] < 0.5 * one_core[0]


@pytest.mark.parametrize("cores", [2, 4, 8])
def test_any_number_of_cores_ends_alike(one_core, cores):
    # Only the order of the sum over the batch differs.
    np.testing.assert_allclose(losses(cores), one_core, rtol=2e-5)


def test_mirrored_strategy_ends_alike(one_core):
    np.testing.assert_allclose(losses(None, mirrored=True), one_core, rtol=2e-5)


def test_same_bits_each_time():
    assert losses(4) == losses(4)
