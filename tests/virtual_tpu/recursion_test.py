"""Functions that call themselves, with collectives on the way down and up.

tf.function has none: it unrolls recursion when it traces. An imported graph may
have them, and so these are made: traced around a stub, which then becomes the
function itself.
"""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import attr_value_pb2
from tensorflow.python.eager import context
from tensorflow.python.framework import function
from tensorflow.python.ops import gen_functional_ops
from tensorflow.python.tpu import tpu
from tensorflow.python.tpu.ops import tpu_ops
from vtpu_testing import CORES, cancelled, per_replica, resolver, run, strategy

IDS = range(CORES)
SIGNATURE = [tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.float32)]


def all_sum(x, cores=CORES):
    return tpu_ops.cross_replica_sum(x, [list(range(cores))])


def recursive(fn):
    """fn(again, n, x) as a graph function, in which `again` is itself."""

    @tf.function(input_signature=SIGNATURE, experimental_attributes={})
    def stub(n, x):
        return x + tf.cast(n, tf.float32)

    traced = tf.function(lambda n, x: fn(stub, n, x), input_signature=SIGNATURE)
    main = traced.get_concrete_function()
    library = main.graph.as_graph_def().library.function
    names = {f.signature.name: f.signature.name + "_recursive" for f in library}
    start = main.function_def.signature.name
    names[start] = start + "_recursive"
    for name in list(names):
        if "stub" in name:
            names[name] = names[start]

    def rename(attr):
        for func in [*attr.list.func, attr.func]:
            if func.name in names:
                func.name = names[func.name]

    for f in [*library, main.function_def]:
        if "stub" in f.signature.name:
            continue
        f.signature.name = names[f.signature.name]
        f.attr["_noinline"].b = True  # or TensorFlow itself would never end
        for node in f.node_def:
            for attr in node.attr.values():
                if attr.WhichOneof("value") in ("func", "list"):
                    rename(attr)
        context.context().add_function_def(f)

    def call(n, x):
        (y,) = gen_functional_ops.stateful_partitioned_call(
            args=[n, x], Tout=[tf.float32], f=Named(names[start])
        )
        return tf.ensure_shape(y, [])

    return call


class Named:
    """What the wrappers of ops take for a function."""

    def __init__(self, name):
        self.name = name

    def add_to_graph(self, graph):
        del graph


def descend(cores=CORES):
    """The sum on the way down, and once more on the way up, n times."""

    def fn(again, n, x):
        def deeper():
            y = again(n - 1, all_sum(x, cores) + 1.0)
            return all_sum(y, cores) - x

        return tf.cond(n > 0, deeper, lambda: x)

    return recursive(fn)


def expected(n, xs):
    """The same on the host: what each core ends with."""
    if n == 0:
        return list(xs)
    down = [sum(xs) + 1.0] * len(xs)
    total = sum(expected(n - 1, down))
    return [total - x for x in xs]


def test_depth_decided_by_data():
    call = descend()

    @tf.function
    def step(n, x):
        return strategy().run(call, (n, x))

    for n in (0, 1, 4):
        results = strategy().experimental_local_results(
            step(tf.constant(n), per_replica(float))
        )
        assert [r.numpy() for r in results] == expected(n, [float(i) for i in IDS])
