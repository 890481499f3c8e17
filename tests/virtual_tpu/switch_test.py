"""Off unless asked for; the three ways to ask; refusals."""

import pytest
from vtpu_testing import run_program

LIST = """
import tensorflow as tf
import tf_embed
print("TPUS", len(tf.config.list_logical_devices("TPU")))
"""

TRAIN = """
import sys
import tensorflow as tf
resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="projects/x/my-tpu-v3")
tf.config.experimental_connect_to_cluster(resolver)
tf.tpu.experimental.initialize_tpu_system(resolver)
strategy = tf.distribute.TPUStrategy(resolver)
print("REPLICAS", strategy.num_replicas_in_sync, sys.argv[1:])
"""

ENABLE = """
import tensorflow as tf
from tf_embed import virtual_tpu
{before}
try:
    virtual_tpu.enable(num_cores={cores})
    print("CORES", virtual_tpu.num_cores(), len(tf.config.list_logical_devices("TPU")))
except Exception as error:
    print("REFUSED", type(error).__name__, error)
"""


def output(*args, **kwargs):
    done = run_program(*args, **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_off_without_the_variable():
    assert "TPUS 0" in output(LIST)


@pytest.mark.parametrize("cores", [1, 3, 64])
def test_variable_says_how_many(cores):
    assert f"TPUS {cores}" in output(LIST, cores=cores)


@pytest.mark.parametrize("cores", ["65", "-1", "many"])
def test_bad_variable_is_reported_and_leaves_it_off(cores):
    done = run_program(LIST, cores=cores)
    assert "TPUS 0" in done.stdout
    assert (
        f"number of virtual TPU cores is '{cores}', must be from 1 to 64" in done.stderr
    )


def test_runner_maps_a_hard_coded_name_and_passes_arguments():
    runner = ("-m", "tf_embed.run", "--cores", "2")
    done = run_program(TRAIN, runner=runner)
    assert "REPLICAS 2 []" in done.stdout, done.stderr


def test_runner_gives_a_module_all_its_options():
    runner = ("-m", "tf_embed.run", "--cores", "2", "-m", "json.tool", "--help")
    done = run_program("", runner=runner)
    assert "--sort-keys" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--cores", "0"), "num_cores is 0, must be from 1 to 64"),
        (("--cores", "65"), "num_cores is 65, must be from 1 to 64"),
    ],
)
def test_runner_refuses_bad_arguments(arguments, message):
    done = run_program(TRAIN, runner=("-m", "tf_embed.run", *arguments))
    assert done.returncode == 2
    assert message in done.stderr


def test_enable_before_the_context():
    assert "CORES 2 2" in output(ENABLE.format(before="", cores=2))


def test_enable_after_the_context_is_refused():
    text = output(ENABLE.format(before="tf.constant(1.0)", cores=2))
    assert "REFUSED RuntimeError" in text
    assert "after TensorFlow's context had started" in text


def test_enable_again_with_the_same_number_is_fine():
    before = "virtual_tpu.enable(num_cores=2); tf.constant(1.0)"
    assert "CORES 2 2" in output(ENABLE.format(before=before, cores=2))


def test_enable_again_with_another_number_is_refused():
    text = output(ENABLE.format(before="virtual_tpu.enable(num_cores=4)", cores=2))
    assert (
        "REFUSED RuntimeError the virtual TPU already has 4 cores and cannot"
        " change to 2" in text
    )


@pytest.mark.parametrize("cores", [0, 65])
def test_enable_out_of_range_is_refused(cores):
    text = output(ENABLE.format(before="", cores=cores))
    assert f"REFUSED ValueError num_cores is {cores}, must be from 1 to 64" in text
