"""What the tests of the virtual TPU share."""

import functools
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

import tensorflow as tf
from tensorflow.core.protobuf.tpu import tpu_embedding_configuration_pb2
from tensorflow.python.eager import cancellation

import tf_embed
from tf_embed import virtual_tpu

CORES = 4
virtual_tpu.enable(num_cores=CORES)  # before any tensor is made


@functools.cache
def resolver():
    found = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
    tf.tpu.experimental.initialize_tpu_system(found)
    return found


@functools.cache
def strategy():
    return tf.distribute.TPUStrategy(resolver())


def run(fn, *args):
    """Values of `fn` on each replica, as numpy."""

    @tf.function
    def step(*args):
        return strategy().run(fn, args)

    results = strategy().experimental_local_results(step(*args))
    return [tf.nest.map_structure(lambda t: t.numpy(), r) for r in results]


def per_replica(fn):
    """A distributed value: fn(replica) on each."""
    return strategy().experimental_distribute_values_from_function(
        lambda ctx: tf.convert_to_tensor(fn(ctx.replica_id_in_sync_group))
    )


def replica_context():
    return tf.distribute.get_replica_context()


def embedding_config():
    """Serialized: 1 row a core, 1 table, SGD."""
    proto = tpu_embedding_configuration_pb2.TPUEmbeddingConfiguration(
        mode="TRAINING", num_hosts=1, num_tensor_cores=CORES
    )
    table = proto.table_descriptor.add(name="t", vocabulary_size=4, dimension=2)
    table.optimization_parameters.stochastic_gradient_descent.SetInParent()
    table.optimization_parameters.learning_rate.constant = 1.0
    proto.feature_descriptor.add(name="f", table_id=0, input_shape=[1])
    return proto.SerializeToString()


def cancelled(fn, *args):
    """Runs a step that waits for ever, cancels it; returns how it ended."""

    @tf.function
    def step(*args):
        return strategy().run(fn, args)

    concrete = step.get_concrete_function(*args)
    manager = cancellation.CancellationManager()
    cancellable = manager.get_cancelable_function(concrete)
    outcome = []

    def wait():
        try:
            outcome.append(cancellable(*args))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(1.0)
    assert not outcome, "the step should still be waiting"
    manager.start_cancel()
    thread.join(20.0)
    assert not thread.is_alive(), "the step does not end when it is cancelled"
    return outcome[0]


def run_program(program, *, cores=None, runner=(), timeout=120, site=None, **environ):
    """Runs Python text in a process of its own; returns it.

    `site` is the folder to import tf_embed from, if not that of this process.
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith("TF_EMBED_")}
    env.update({"TF_CPP_MIN_LOG_LEVEL": "3"}, **environ)
    if cores is not None:
        env["TF_EMBED_VIRTUAL_TPU"] = str(cores)
    here = os.path.dirname(os.path.dirname(os.path.abspath(tf_embed.__file__)))
    path = [str(site or here), env.get("PYTHONPATH", "")]
    env["PYTHONPATH"] = os.pathsep.join(path)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "program.py")
        with open(path, "w") as file:
            file.write(textwrap.dedent(program))
        command = [sys.executable, *runner, path]
        return subprocess.run(
            command, env=env, timeout=timeout, capture_output=True, text=True
        )
