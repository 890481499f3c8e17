"""tf_embed.xla.tpu_cost: the TPU compiler's answers, and how it fails."""

import json
import math
import re
import stat
import time

import pytest
import tensorflow as tf
from tensorflow.core.protobuf.tpu import tpu_embedding_configuration_pb2

import tf_embed
from tf_embed import xla
from tf_embed.xla import _tpu_compiler, cost

_MATRIX = tf.TensorSpec([128, 128])
_ALL = tuple(xla.TPU_TOPOLOGIES.values())


def test_every_generation_compiles_a_matmul(tpu_compiler):
    costs = xla.tpu_costs(tf.matmul, _MATRIX, _MATRIX)
    assert list(costs) == list(_ALL)
    for answer in costs.values():
        assert answer.ok, answer.error
        assert answer.flops >= 2 * 128**3
        assert 0 < answer.seconds < 1e-3
        assert answer.memory.argument == 2 * 128 * 128 * 4
        assert answer.memory.output == 128 * 128 * 4
    assert [answer.device_kind for answer in costs.values()] == [
        "TPU v2", "TPU v3", "TPU v4", "TPU v5 lite", "TPU v5", "TPU v6 lite"
    ]  # fmt: skip


def test_a_variable_that_is_assigned_is_updated_in_place(tpu_compiler):
    table = tf.Variable(tf.zeros([1024, 128]))

    def step(x):
        table.assign_add(x)
        return tf.reduce_sum(table)

    answer = xla.tpu_cost(step, tf.TensorSpec([1024, 128]), want_hlo=True)
    assert answer.ok, answer.error
    assert answer.memory.alias == 1024 * 128 * 4
    assert answer.optimized_hlo.startswith("HloModule")


def test_arguments_may_be_values_keywords_and_composites(tpu_compiler):
    sparse = tf.SparseTensorSpec([4, 5])
    with pytest.raises(ValueError, match="needs static shapes"):
        xla.stablehlo(tf.sparse.reduce_sum, sparse)
    text = xla.stablehlo(
        tf.matmul, tf.ones([2, 3]), b=tf.TensorSpec([2, 3]), transpose_b=True
    )
    assert "tensor<2x2xf32>" in text


def test_what_does_not_fit_is_answered_with_the_compilers_text(tpu_compiler):
    answer = xla.tpu_cost(lambda x: x + 1, tf.TensorSpec([200_000, 30_000]))
    assert not answer.ok
    assert "RESOURCE_EXHAUSTED" in answer.error
    assert answer.memory is None
    assert math.isnan(answer.seconds)


def test_an_unknown_topology_is_named(tpu_compiler):
    with pytest.raises(RuntimeError, match="topology 'v99:2x2'.*TPU v99"):
        xla.tpu_cost(tf.matmul, _MATRIX, _MATRIX, topology="v99:2x2")


def test_an_operation_without_a_lowering_is_a_value_error():
    with pytest.raises(ValueError, match="unsupported operations"):
        xla.stablehlo(tf.strings.as_string, tf.TensorSpec([3]))


def test_strings_are_refused_by_the_name_of_the_argument():
    with pytest.raises(ValueError, match="argument 's' is of type string"):
        xla.stablehlo(tf.strings.length, tf.TensorSpec([3], tf.string, name="s"))


def test_ops_of_the_embedding_engine_have_no_cost():
    config = tpu_embedding_configuration_pb2.TPUEmbeddingConfiguration()
    config.table_descriptor.add(name="t", vocabulary_size=4, dimension=1)
    config.feature_descriptor.add(name="f", table_id=0, input_shape=[2])

    @tf.function
    def receive():
        return tf_embed.raw_ops.RecvTPUEmbeddingActivations(
            num_outputs=1, config=config.SerializeToString()
        )

    with pytest.raises(ValueError, match="calls RecvTPUEmbeddingActivations: what"):
        xla.tpu_cost(receive)


def test_an_empty_topology_is_refused(fake_python):
    with pytest.raises(ValueError, match="a topology is empty; .*v5e:2x2"):
        xla.tpu_cost(tf.matmul, _MATRIX, _MATRIX, topology="")


def test_an_interpreter_that_says_nothing_is_named(fake_python):
    fake_python("exit 0")
    with pytest.raises(RuntimeError, match="/python ended without an answer"):
        xla.tpu_cost(tf.matmul, _MATRIX, _MATRIX)


@pytest.mark.parametrize("path", ["/no/such/python", "/usr"])
def test_the_interpreter_of_the_variable_must_be_a_file(monkeypatch, path):
    monkeypatch.setenv(_tpu_compiler.PYTHON_VARIABLE, path)
    with pytest.raises(xla.TpuCompilerNotFoundError, match=f"'{path}', which is not"):
        xla.tpu_cost(tf.matmul, _MATRIX, _MATRIX)


def test_without_jax_the_error_says_what_to_install(monkeypatch):
    monkeypatch.delenv(_tpu_compiler.PYTHON_VARIABLE, raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        xla.TpuCompilerNotFoundError,
        match=r"needs jax and libtpu, .* 3\.11 .*whl\[tpu-compiler\].*`./run tpu-comp",
    ):
        xla.tpu_cost(tf.matmul, _MATRIX, _MATRIX)


@pytest.fixture
def fake_python(monkeypatch, tmp_path):
    """Installs a script in the place of the interpreter that has jax."""

    def install(body):
        path = tmp_path / "python"
        path.write_text("#!/bin/sh\n" + body)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv(_tpu_compiler.PYTHON_VARIABLE, str(path))

    return install


def test_a_compiler_that_dies_costs_only_its_own_job(fake_python):
    # Arguments: -I WORKER REQUEST RESULTS. Dies on the first job it is given,
    # but for the last, which it answers.
    fake_python(
        """case $(cat "$3") in *'"key": 0'*) echo boom >&2; kill -ABRT $$;; esac
        echo '{"key": 1, "device_kind": "k", "error": "refused"}' >> "$4"
        """
    )
    jobs = [_tpu_compiler.Job("a", "v4:2x2x1"), _tpu_compiler.Job("b", "v4:2x2x1")]
    ended = []
    first, second = _tpu_compiler.compile_modules(jobs, on_result=ended.append)
    assert first["error"] == "The compiler died: SIGABRT; the last it said:\nboom"
    assert second["error"] == "refused"
    assert ended == [1, 2]


def test_a_compiler_that_hangs_is_given_up(fake_python):
    fake_python("exec sleep 100")
    # The time is that of all jobs.
    begin = time.monotonic()
    for result in _tpu_compiler.compile_modules(
        [_tpu_compiler.Job("a", "v4:2x2x1")] * 10, timeout_s=0.2
    ):
        assert result["error"] == "The compiler died: it took longer than 0.2 s"
    assert time.monotonic() - begin < 2


def test_the_program_s_own_tpu_settings_do_not_reach_the_compiler(
    fake_python, monkeypatch, tmp_path
):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/tmp")
    monkeypatch.setenv("TPU_WORKER_HOSTNAMES", "10.0.0.1,10.0.0.2")
    seen = tmp_path / "seen"
    fake_python(f'env > {seen}; echo \'{{"key": 0, "error": "e"}}\' >> "$4"')
    _tpu_compiler.compile_modules([_tpu_compiler.Job("a", "v4:2x2x1")])
    environment = seen.read_text().splitlines()
    assert "TPU_WORKER_HOSTNAMES=localhost" in environment
    assert not [line for line in environment if line.startswith("XLA_FLAGS")]


@pytest.fixture
def saved_model(tmp_path):
    module = tf.Module()
    module.table = tf.Variable(tf.random.stateless_uniform([50, 8], [1, 2]))

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.int32, name="ids")])
    def serve(ids):
        return {"pooled": tf.reduce_sum(tf.gather(module.table, ids), axis=1)}

    @tf.function(input_signature=[tf.TensorSpec(None, name="x")])
    def serve_any(x):
        return {"twice": x + x}

    path = str(tmp_path / "model")
    tf.saved_model.save(module, path, signatures={"lookup": serve, "open": serve_any})
    return path


def test_command_line_shows_a_row_per_topology(tpu_compiler, saved_model, capsys):
    pytest.importorskip("rich")
    status = cost.main(
        ["--saved-model", saved_model, "--signature", "lookup", "--batch-size",
         "16", "--topology", "v4:2x2x1", "--topology", "v2:2x2"]
    )  # fmt: skip
    out = capsys.readouterr().out
    assert status == 0
    assert "v4:2x2x1" in out and "v2:2x2" in out and "µs" in out


def test_command_line_json_has_every_field(tpu_compiler, saved_model, capsys):
    status = cost.main(
        ["--saved-model", saved_model, "--signature", "lookup", "--shape",
         "ids=16,4", "--topology", "v5e:2x2", "--json"]
    )  # fmt: skip
    answer = json.loads(capsys.readouterr().out)["v5e:2x2"]
    assert status == 0
    # [16, 8], padded to a whole tile of 8 by 128.
    assert answer["memory"]["output"] == 8 * 128 * 4
    assert answer["error"] is None


_REFUSED = """echo '{"key": 0, "device_kind": "k", "error": "no [red]"}' >> "$4" """


def test_command_line_json_has_null_for_what_is_not_known(
    saved_model, capsys, fake_python
):
    fake_python(_REFUSED)
    cost.main(
        ["--saved-model", saved_model, "--signature", "lookup", "--batch-size", "2",
         "--topology", "v5e:2x2", "--json"]
    )  # fmt: skip

    def refuse(text):
        raise AssertionError(text)

    out = capsys.readouterr().out
    answer = json.loads(out, parse_constant=refuse)["v5e:2x2"]
    assert answer["seconds"] is None and answer["error"] == "no [red]"


def test_command_line_takes_inputs_with_the_names_of_arguments(
    tmp_path, capsys, fake_python
):
    fake_python(_REFUSED)
    spec = tf.TensorSpec([None])

    @tf.function(input_signature=[spec, spec])
    def serve(fn, topologies):
        return {"sum": fn + topologies}

    path = str(tmp_path / "named")
    tf.saved_model.save(tf.Module(), path, signatures={"serving_default": serve})
    cost.main(
        ["--saved-model", path, "--batch-size", "2", "--topology", "v5e:2x2"]
    )  # fmt: skip
    assert "v5e:2x2: no [red]" in capsys.readouterr().out


def test_command_line_cuts_no_numbers_off(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    memory = xla.TpuMemory(12345678901, 1234567890, 0, 2345678901, 300000)
    answer = xla.TpuCost("v5p:2x2x1", "k", None, 0.1234567, 1.2e12, 9e10, memory)
    cost._show_table("title", {"v5p:2x2x1": answer})
    out = capsys.readouterr().out
    for number in ("123,456.7", "12,345.68", "15,926.23"):
        assert number in out


def test_command_line_names_a_topology_that_is_unknown(saved_model, capfd, fake_python):
    fake_python("""echo '{"key": 0, "failure": "no v99"}' >> "$4" """)
    status = cost.main(
        ["--saved-model", saved_model, "--signature", "lookup", "--batch-size",
         "2", "--topology", "v99:2x2"]
    )  # fmt: skip
    assert status == 1
    assert re.search(
        "^error: .* about topology 'v99:2x2': no v99", capfd.readouterr().err, re.M
    )


def test_command_line_without_a_compiler_says_what_to_install(
    saved_model, capfd, monkeypatch
):
    monkeypatch.delenv(_tpu_compiler.PYTHON_VARIABLE, raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert cost.main(["--saved-model", saved_model]) == 1
    assert re.search(
        r"^error: .*`pip install 'tf_embed-.*\[tpu-compiler\]",
        capfd.readouterr().err,
        re.M,
    )


def test_command_line_names_a_directory_that_is_no_saved_model(
    tmp_path, capfd, fake_python
):
    fake_python("exit 0")
    assert cost.main(["--saved-model", str(tmp_path)]) == 1
    assert re.search(f"^error: .*{tmp_path}", capfd.readouterr().err, re.M)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--signature", "nope"], "no signature 'nope' in .*; it has lookup, open"),
        (
            ["--signature", "lookup"],
            r"input 'ids' has shape \(None, 4\); give --batch-size or --shape ids=",
        ),
        (["--signature", "open", "--batch-size", "2"], "'x' has .*; give --shape x=N"),
        (["--signature", "lookup", "--shape", "ids=2,5"], "the signature has"),
        (["--signature", "lookup", "--shape", "id=2,5"], "inputs are ids"),
        (["--signature", "lookup", "--shape", "ids"], "want INPUT=N,N,..."),
        (["--signature", "lookup", "--batch-size", "-1"], "-1"),
    ],
)
def test_command_line_errors_are_one_sentence(
    arguments, message, saved_model, capfd, fake_python
):
    fake_python("exit 0")
    assert cost.main(["--saved-model", saved_model, *arguments]) == 1
    assert re.search(f"^error: .*{message}", capfd.readouterr().err, re.MULTILINE)
