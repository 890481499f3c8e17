"""Warnings of what a real TPU would refuse."""

import pytest
from vtpu_testing import run_program

PROGRAM = """
import tensorflow as tf
import tf_embed
resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
tf.tpu.experimental.initialize_tpu_system(resolver)
strategy = tf.distribute.TPUStrategy(resolver)

def as_text(x):
    return tf.strings.length(tf.strings.as_string(x))

def fn(x):
    {body}

@tf.function
def step(x):
    return strategy.run(fn, (x,))

for x in (1.0, 2.0):
    step(tf.fill([4], x))
step(tf.fill([5], 1.0))
"""

STRICT = {"TF_EMBED_VIRTUAL_TPU_STRICT": "1"}


def warnings_of(program, **environ):
    done = run_program(program, cores=2, TF_CPP_MIN_LOG_LEVEL="0", **environ)
    assert done.returncode == 0, done.stderr
    return [x for x in done.stderr.splitlines() if "strict mode" in x]


def warnings(body, **environ):
    return warnings_of(PROGRAM.format(body=body), **environ)


@pytest.mark.parametrize(
    "body, op, reason",
    [
        ("return as_text(x)", "AsString", "a TPU has no type string"),
        (
            "return tf.range(tf.cast(x[0], tf.int32))",
            "Range",
            "must be known when the program is compiled",
        ),
        (
            "return tf.reshape(x, tf.stack([tf.cast(x[0], tf.int32) * 0 + 1, -1]))",
            "Reshape",
            "must be known when the program is compiled",
        ),
        (
            "n = tf.constant(0)\n"
            "    for i in tf.range(3):\n"
            "        n += tf.size(tf.zeros([i]))\n"
            "    return n",
            "Fill",
            "must be known when the program is compiled",
        ),
        (
            "return tf.sets.size(tf.sparse.from_dense(tf.cast(x[None], tf.int32)))",
            "SetSize",
            "XLA has no kernel",
        ),
    ],
)
def test_op_is_named_once(body, op, reason):
    found = [x for x in warnings(body, **STRICT) if f"op {op} " in x]
    assert len(found) == 1
    assert reason in found[0]
    assert "A real TPU would refuse it" in found[0]


def test_soft_placement_leaves_to_the_host_what_it_can():
    body = "return tf.range(tf.strings.length(tf.strings.as_string(x))[0])"
    program = "import tensorflow as tf\n" + (
        "tf.config.set_soft_device_placement(True)\n" + PROGRAM.format(body=body)
    )
    of_op = {x.split(" op ")[1].split()[0]: x for x in warnings_of(program, **STRICT)}
    assert set(of_op) == {"AsString", "StringLength", "Range"}
    for op, text in of_op.items():
        refused = op == "Range"
        assert ("A real TPU would refuse it" in text) == refused
        assert ("TensorFlow would run it on the host" in text) != refused


@pytest.mark.parametrize(
    "body",
    [
        "return tf.reduce_sum(tf.nn.relu(tf.matmul(x[None], x[:, None])))",
        # Shapes that come from shapes, also round a loop.
        "return tf.reshape(tf.fill([2 * tf.shape(x)[0]], 1.0), [2, -1])",
        "n = tf.shape(x)[0]\n"
        "    y = 0.0\n"
        "    for i in tf.range(3):\n"
        "        y += tf.reduce_sum(tf.fill([n], x[i]))\n"
        "    return y",
        # Compiles to nothing, with its texts.
        "tf.debugging.assert_positive(x, message='x is not positive')\n    return x",
        # Bounded by the shape of what it looks at.
        "return tf.reduce_sum(tf.where(x > 0.0))",
    ],
)
def test_what_a_tpu_takes_is_not_mentioned(body):
    assert warnings(body, **STRICT) == []


def test_outside_compilation_is_not_mentioned():
    body = "return tf.compat.v1.tpu.outside_compilation(as_text, x)"
    assert warnings(body, **STRICT) == []


def test_silent_unless_asked():
    assert warnings("return as_text(x)") == []
