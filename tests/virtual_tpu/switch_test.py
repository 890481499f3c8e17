"""Off unless asked for; the three ways to ask; refusals."""

import pathlib

import pytest
from vtpu_testing import run_program

import tf_embed
from tf_embed import _build_info, virtual_tpu

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

# An unmodified program: neither tf_embed nor the name of a TPU.
UNNAMED = """
import tensorflow as tf
resolver = tf.distribute.cluster_resolver.TPUClusterResolver({name})
print("MASTER", repr(resolver.master()), resolver.num_accelerators())
"""
IMPORTED = "import tf_embed\n" + UNNAMED

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


@pytest.mark.parametrize(
    ("name", "variable"),
    [("", {}), ("''", {"TPU_NAME": ""}), ("tpu=None", {"TPU_NAME": "local"})],
)
def test_resolver_without_a_name_finds_it(name, variable):
    text = output(IMPORTED.format(name=name), cores=2, **variable)
    assert "MASTER '' {'TPU': 2}" in text


def test_resolver_without_a_name_finds_it_after_enable():
    program = "from tf_embed import virtual_tpu\nvirtual_tpu.enable(3)\n" + IMPORTED
    assert "MASTER '' {'TPU': 3}" in output(program.format(name=""))


@pytest.mark.parametrize("name, named", [("", "grpc://a:1"), ("'grpc://b:2'", "")])
def test_resolver_with_a_name_is_left_alone(name, named):
    program = IMPORTED.format(name=name).replace("resolver.num_accelerators()", "0")
    text = output(program, cores=2, TPU_NAME=named)
    assert "MASTER 'grpc://" in text


def test_resolver_is_left_alone_where_it_is_off():
    done = run_program(IMPORTED.format(name=""))
    assert "ValueError: Please provide a TPU Name" in done.stderr


@pytest.fixture
def installed(tmp_path):
    """A folder as the wheel fills it, for PYTHONPATH."""
    package = pathlib.Path(tf_embed.__file__).parent
    autoload = package.parent / "libtf_embed_autoload.so"
    site = tmp_path / "site-packages"  # where TensorFlow looks for plugins
    plugins = site / "tensorflow-plugins"
    plugins.mkdir(parents=True)
    (plugins / autoload.name).symlink_to(autoload)
    (site / "tf_embed").symlink_to(package)
    (site / f"tensorflow-{_build_info.TF_VERSION}.dist-info").mkdir()
    return site


def test_installed_plugin_finds_it_without_an_import(installed):
    program = UNNAMED.format(name="")
    text = output(program, cores=3, site=installed, TPU_NAME="local")
    assert "MASTER '' {'TPU': 3}" in text


def test_installed_plugin_imports_nothing_while_it_is_off(installed):
    program = "import sys, tensorflow\nprint('tf_embed' in sys.modules)"
    assert "False" in output(program, site=installed)


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


def test_runner_has_the_cores_of_the_environment():
    done = run_program(TRAIN, runner=("-m", "tf_embed.run"), cores=3)
    assert "REPLICAS 3 []" in done.stdout, done.stderr


def test_runner_refuses_other_cores_than_the_environment():
    runner = ("-m", "tf_embed.run", "--cores", "2")
    done = run_program(TRAIN, runner=runner, cores=3)
    assert done.returncode == 2
    assert "the virtual TPU already has 3 cores and cannot change to 2" in done.stderr


def test_runner_takes_a_separator_before_the_program():
    done = run_program(TRAIN, runner=("-m", "tf_embed.run", "--cores", "2", "--"))
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


@pytest.mark.parametrize("cores", [2.0, "2", None])
def test_enable_without_an_integer_is_refused(cores):
    with pytest.raises(TypeError, match=f"num_cores is {cores!r}, must be an integer"):
        virtual_tpu.enable(cores)


def test_enable_tells_the_children_a_number():
    before = "import os; virtual_tpu.enable(True)"
    program = ENABLE.format(before=before, cores=1)
    program += "print('CHILDREN', os.environ['TF_EMBED_VIRTUAL_TPU'])"
    assert "CHILDREN 1" in output(program)


@pytest.mark.parametrize("cores", [0, 65])
def test_enable_out_of_range_is_refused(cores):
    text = output(ENABLE.format(before="", cores=cores))
    assert f"REFUSED ValueError num_cores is {cores}, must be from 1 to 64" in text
