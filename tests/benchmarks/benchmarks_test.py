"""The benchmark's own parts on workloads of a few rows, systems of ours only."""

import json
import sys

import pytest

from benchmarks import __main__ as command
from benchmarks import command_line, compare, kernels, measure, report, scaling
from benchmarks.systems import SYSTEMS, WorkerError, pythons
from benchmarks.workloads import OPTIMIZERS, WORKLOADS, Setting, Workload

MEAN = Workload("mean", 2, 1000, 8, 16, 1, 5, "mean")
WEIGHTED = Workload("weighted", 2, 1000, 7, 16, 1, 5, "sum", True)
ONE_ID = Workload("one-id", 3, 1000, 8, 64)


def run(tmp_path, setting, *names):
    results, _ = measure.run(
        setting,
        [SYSTEMS[name] for name in names],
        ["forward", "step"],
        0.01,
        pythons(),
        tmp_path,
        lambda what: None,
    )
    return {(result.system, result.kind): result for result in results}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("workload", [MEAN, WEIGHTED, ONE_ID], ids=lambda w: w.name)
def test_core_computes_what_the_reference_does(tmp_path, workload, optimizer):
    setting = Setting(workload, "zipf", optimizer, 1, 3)
    results = run(tmp_path, setting, "core", "engine")
    assert set(results) == {
        (system, kind) for system in ("core", "engine") for kind in ("forward", "step")
    }
    for (_, kind), result in results.items():
        assert result.calls >= 5
        assert 0 < result.p10_us <= result.median_us
        assert result.core_us == results["core", kind].median_us


@pytest.mark.parametrize(
    ("system", "workload", "optimizer"),
    [("raw-ops", WEIGHTED, "ftrl"), ("serving-ragged", MEAN, "adam")],
)
def test_ops_compute_what_the_reference_does(tmp_path, system, workload, optimizer):
    results = run(tmp_path, Setting(workload, "uniform", optimizer, 1, 3), system)
    # Batches this small are timed beside an empty function.
    assert set(results) == {(system, kind) for kind in ("forward", "step", "empty")}


def test_a_loop_inside_a_function_computes_what_the_reference_does(tmp_path):
    system = "raw-ops-loop"
    results = run(tmp_path, Setting(MEAN, "uniform", "adagrad", 1, 3), system)
    assert set(results) == {(system, kind) for kind in ("forward", "step")}


def test_eager_calls_compute_what_the_reference_does(tmp_path):
    system = "serving-sparse-eager"
    results = run(tmp_path, Setting(WEIGHTED, "uniform", "sgd", 1, 3), system)
    assert set(results) == {(system, "forward")}


def test_a_wrong_result_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.workloads.LEARNING_RATE", 0.02)
    with pytest.raises(
        ValueError, match="core: lookup after two steps of sgd is wrong"
    ):
        run(tmp_path, Setting(MEAN, "uniform", "sgd", 1, 3), "core")


def test_a_worker_that_refuses_says_why(tmp_path):
    setting = Setting(MEAN, "uniform", "rprop", 1, 3)
    with pytest.raises(WorkerError, match="core: no optimizer 'rprop'"):
        run(tmp_path, setting, "core")


def test_what_does_not_fit_together_meets_the_core_in_turn():
    setting = Setting(WORKLOADS["W2"], "uniform", "adagrad")
    systems = [SYSTEMS[n] for n in ("torch", "core", "fbgemm", "tf")]
    memory = 3.5 * setting.table_bytes
    names = [[s.name for s in g] for g in measure.groups(systems, setting, memory)]
    assert names == [["core", "torch", "fbgemm"], ["core", "tf"]]


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        (compare, ["--system", "core,fast"], "no 'fast'; there are: core, engine"),
        (compare, ["--workload", "W9"], "no 'W9'; there are: W1, W2, W2-weighted"),
        (
            compare,
            ["--workload", "W3-1", "--kind", "step"],
            "nothing to run: no setting has all that was asked for",
        ),
        (
            compare,
            ["--system", "jax", "--kind", "step"],
            "or none of these systems does it: jax",
        ),
        (
            compare,
            ["--system", "torch", "--kind", "step", "--optimizer", "ftrl"],
            "or none of these systems does it: torch",
        ),
        (scaling, ["--axis", "width"], "no 'width'; there are: rows, dim"),
        (kernels, ["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_unknown_arguments_are_named(module, arguments, message, capsys):
    with pytest.raises(SystemExit):
        module.parse(arguments)
    assert message in capsys.readouterr().err


def test_quick_needs_every_environment_and_the_list_none():
    needs = compare.needs(compare.parse(["--quick"]))
    assert needs == ["core", "tf_embed", "torch", "jax"]
    assert compare.needs(compare.parse(["--list"])) == []


def test_what_has_no_release_for_this_python_is_left_out(monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 10, 12))
    options = compare.parse(["--quick"])
    assert options.left_out == ["jax"]
    assert compare.needs(options) == ["core", "tf_embed", "torch"]


def test_a_system_that_cannot_step_does_not_stop_others():
    options = compare.parse(
        ["--workload", "W1", "--system", "core,torch", "--kind", "step"]
    )
    assert {s.optimizer for s, _ in options.settings} == set(OPTIMIZERS)


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_commands_say_what_they_need_before_it_is_there(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--needs", name])
    assert command.main() == 0
    needs = capsys.readouterr().out.split()
    assert set(needs) <= {"core", "tf_embed", "kernels", "tpu-compiler"}


@pytest.mark.parametrize("name", command_line.COMMANDS)
def test_commands_are_listed_and_have_help(name, monkeypatch, capsys):
    assert compare.main(compare.parse(["--list"])) == 0
    assert f"  {name} " in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["benchmarks", name, "--help"])
    with pytest.raises(SystemExit, match="0"):
        command.main()
    assert f"./run bench {name}" in capsys.readouterr().out


def test_report_shows_the_latest_times_and_their_ratio(tmp_path):
    def result(system, median, threads=1, memory=250.0):
        return {
            "workload": "W1",
            "distribution": "uniform",
            "kind": "forward",
            "optimizer": "",
            "threads": threads,
            "system": system,
            "calls": 9,
            "median_us": median,
            "p10_us": median - 10,
            "core_us": 1000.0,
            "memory_us": memory,
        }

    run = {
        "command": "./run bench",
        "date": "today",
        "commit": "1234567",
        "machine": "a machine",
        "versions": ["torch 2"],
        "results": [
            result("core", 1000.0),
            result("torch", 9999.0),
            result("memory", 250.0),
        ],
    }
    again = run | {
        "results": [
            result("torch", 1500.0),
            result("core", 800.0, 2, 200.0),
            result("memory", 200.0, 2),
        ]
    }
    report.write([run, again], tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert "| C++ core | 1,000 (990) 25% | 800 (790) 25% |" in text
    assert "| torch EmbeddingBag | 1,500 (1,490) 1.50x 17% |" in text
    assert "| C++ core | 1.25x |\n| memory accesses alone | 1.25x |" in text
    assert (tmp_path / "forward.png").stat().st_size > 1000


@pytest.mark.parametrize("keep", [[], ["--keep"]])  # also where nothing is kept
def test_scaling_writes_curves(tmp_path, monkeypatch, capsys, keep):
    monkeypatch.setattr(scaling, "OUT", tmp_path)
    base = Workload("dim", 1, 100, 0, 16, 2, 2)
    monkeypatch.setattr(
        scaling, "AXES", {"dim": scaling.Axis(base, (1, 3), (3,), "KB")}
    )
    options = scaling.parse(["--seconds", "0.01", *keep])
    assert scaling.main(options) == 0
    points = json.loads((tmp_path / "scaling.json").read_text())["runs"][0]["points"]
    assert [(p["value"], p["kind"]) for p in points] == [
        (1, "forward"),
        (1, "step"),
        (3, "forward"),
        (3, "step"),
    ]
    assert "## dim: nanoseconds per KB" in capsys.readouterr().out
    assert (tmp_path / "scaling.png").exists()
