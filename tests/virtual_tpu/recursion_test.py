"""Functions that call themselves, with collectives on the way down and up.

tf.function has none: it unrolls recursion when it traces. An imported graph may
have them, and so these are made: traced around a stub, which then becomes the
function itself.
"""

import concurrent.futures
import os

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compiler.tf2xla.python import xla
from tensorflow.python.eager import context
from tensorflow.python.framework import function
from tensorflow.python.ops import gen_functional_ops
from tensorflow.python.tpu import tpu
from tensorflow.python.tpu.ops import tpu_ops
from vtpu_testing import (
    CORES,
    cancelled,
    per_replica,
    resolver,
    run,
    run_program,
    strategy,
)

IDS = range(CORES)
SIGNATURE = [tf.TensorSpec([], tf.int32), tf.TensorSpec([], tf.float32)]


def all_sum(x, cores=CORES):
    return tpu_ops.cross_replica_sum(x, [list(range(cores))])


def recursive(fn):
    """fn(again, n, x) as a graph function, in which `again` is itself."""

    @tf.function(input_signature=SIGNATURE)
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


START = [float(i) for i in IDS]


def local(results):
    return [r.numpy() for r in strategy().experimental_local_results(results)]


def test_depth_decided_by_data():
    call = descend()

    @tf.function
    def step(n, x):
        return strategy().run(call, (n, x))

    for n in (0, 1, 4):
        assert local(step(tf.constant(n), per_replica(float))) == expected(n, START)


def test_two_cores():
    call = descend(cores=2)

    @tf.function
    def step():
        return tpu.replicate(
            call, [[tf.constant(3), tf.constant(x)] for x in (0.0, 1.0)]
        )

    found = [y.numpy() for (y,) in step()]
    assert found == expected(3, [0.0, 1.0])


def test_runs_that_overlap():
    # The two calls of one computation have nothing to wait for in each other,
    # and the computation itself runs in several threads.
    call = descend()

    @tf.function
    def step(n, x):
        return strategy().run(lambda n, x: (call(n, x), call(n + 1, x + 1.0)), (n, x))

    x = per_replica(float)
    step.get_concrete_function(tf.constant(2), x)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(lambda n: (n, step(tf.constant(n), x)), [1, 3, 2, 3, 1]))
    for n, (first, second) in runs:
        assert local(first) == expected(n, START)
        assert local(second) == expected(n + 1, [v + 1.0 for v in START])


def test_calls_and_collectives_in_loops():
    # Recursion inside of a loop, and a loop with collectives inside of it.
    def fn(again, n, x):
        def deeper():
            y = x
            for _ in tf.range(2):
                y = all_sum(y) * 0.25 + again(n - 1, y)
            return y

        return tf.cond(n > 0, deeper, lambda: x)

    call = recursive(fn)

    def body(n, x):
        for i in tf.range(3):
            x += call(n, x * tf.cast(i, tf.float32))
        return x

    def on_host(n, xs):
        if n == 0:
            return xs
        for _ in range(2):
            deeper = on_host(n - 1, xs)
            xs = np.float32(sum(xs)) * np.float32(0.25) + deeper
        return xs

    want = np.float32(START)
    for i in range(3):
        want = want + on_host(2, want * np.float32(i))
    found = run(body, tf.constant(2), per_replica(float))
    np.testing.assert_allclose(found, want, rtol=1e-6)


def test_replica_and_core_inside():
    # The replicas in another order than their cores.
    topology = tf.tpu.experimental.initialize_tpu_system(resolver())
    found = tf.distribute.TPUStrategy(
        resolver(),
        experimental_device_assignment=tf.tpu.experimental.DeviceAssignment(
            topology,
            core_assignment=[[list(c)] for c in topology.device_coordinates[0][::-1]],
        ),
    )

    def fn(again, n, x):
        replica = tf.cast(xla.replica_id(), tf.float32)
        return tf.cond(
            n > 0,
            lambda: again(n - 1, tpu_ops.collective_permute(x, SHIFT)) * 10.0 + replica,
            lambda: x,
        )

    SHIFT = [[i, (i + 1) % CORES] for i in IDS]
    call = recursive(fn)

    @tf.function
    def step():
        def body():
            context = tf.distribute.get_replica_context()
            x = tf.cast(context.replica_id_in_sync_group, tf.float32)
            return call(tf.constant(2), x)

        return found.run(body)

    results = [r.numpy() for r in found.experimental_local_results(step())]
    assert results == [100.0 * ((i - 2) % CORES) + 11.0 * i for i in IDS]


def test_one_replica_that_goes_deeper_can_be_cancelled():
    call = descend()
    error = cancelled(lambda x: call(tf.where(x > 0.5, 2, 3), x), per_replica(float))
    assert isinstance(error, tf.errors.CancelledError), error
    found = run(lambda x: call(tf.constant(2), x), per_replica(float))
    assert found == expected(2, START)


STRICT_RECURSION = """
import sys
sys.path.insert(0, {folder!r})
import tensorflow as tf
from recursion_test import descend, per_replica, run
call = descend()
run(lambda x: call(tf.constant(2), x), per_replica(float))
"""


def test_strict_mode_says_that_a_tpu_has_no_recursion():
    done = run_program(
        STRICT_RECURSION.format(folder=os.path.dirname(__file__)),
        TF_CPP_MIN_LOG_LEVEL="0",
        TF_EMBED_VIRTUAL_TPU_STRICT="1",
    )
    assert done.returncode == 0, done.stderr
    assert "a TPU has no functions that call themselves" in done.stderr


def test_branch_that_holds_itself_is_refused_by_name():
    def fn(again, n, x):
        branch = again.get_concrete_function()
        outputs = tf.raw_ops.If(
            cond=n > 0,
            input=[n - 1, x],
            Tout=[tf.float32],
            then_branch=branch,
            else_branch=branch,
        )
        return tf.ensure_shape(outputs[0], [])

    call = recursive(fn)
    with pytest.raises(tf.errors.UnimplementedError, match="holds itself as a branch"):
        run(lambda x: call(tf.constant(2), x), per_replica(float))


def test_error_deep_inside_reaches_the_caller():
    def fn(again, n, x):
        def deeper():
            with tf.control_dependencies([tf.debugging.assert_less(x, 50.0)]):
                return again(n - 1, all_sum(x))

        return tf.cond(n > 0, deeper, lambda: x)

    call = recursive(fn)
    with pytest.raises(tf.errors.InvalidArgumentError, match="assertion failed"):
        run(lambda x: call(tf.constant(8), x), per_replica(float))


def test_functions_called_by_name_as_in_tensorflow_1():
    @function.Defun(tf.float32, func_name="Inner", out_names=["first", "second"])
    def inner(x):
        return x + 1.0, all_sum(x)

    @function.Defun(tf.float32, func_name="Outer", out_names=["y"])
    def outer(x):
        first, second = inner(x)
        return second * 2.0 - first

    def body(x):
        y = outer(x)
        y.set_shape([])
        return y + all_sum(y)

    each = [2.0 * sum(START) - x - 1.0 for x in START]
    found = run(body, per_replica(float))
    assert found == [y + sum(each) for y in each]
