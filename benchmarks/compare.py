"""tf_embed and its competitors, side by side on the same inputs.

All systems compute the same first, and are checked; then they take turns.
Writes results.json, report.md and plots to out/bench.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import shlex
import sys

import rich.console

from benchmarks import command_line, measure, report, workloads
from benchmarks.machine import OUT, describe
from benchmarks.systems import SYSTEMS, WorkerError, pythons
from benchmarks.workloads import DISTRIBUTIONS, OPTIMIZERS, WORKLOADS, Setting

KINDS = ("forward", "step")
# Those that a machine has no cores for are left out.
THREADS = ("1", "2", "4", "8", "16", "32", "64", "128")
_USUAL_THREADS = ["1", "2"]


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./run bench",
        description=__doc__,
        epilog="`./run bench COMMAND` is something else, with arguments of its own"
        f" (--help): {', '.join(command_line.COMMANDS)}; --list says what.",
    )
    parser.add_argument("--list", action="store_true", help="show what there is")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a few minutes: W1, W2 and W3-1, uniform ids, Adagrad, one thread",
    )
    command_line.add_choice(parser, "--workload", WORKLOADS)
    command_line.add_choice(parser, "--system", SYSTEMS)
    command_line.add_choice(parser, "--optimizer", OPTIMIZERS)
    command_line.add_choice(parser, "--distribution", DISTRIBUTIONS)
    command_line.add_choice(
        parser, "--threads", THREADS, usual=",".join(_USUAL_THREADS)
    )
    command_line.add_choice(parser, "--kind", KINDS)
    parser.add_argument(
        "--seconds", type=float, help="to time each system on each setting"
    )
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: time on a core, of one thread, for a machine that others use",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        help="add to the results of earlier runs instead of replacing them",
    )
    options = parser.parse_args(arguments)
    options.command = shlex.join(["./run", "bench", *arguments])
    asked_for = options.system or list(SYSTEMS)
    options.system = [n for n in asked_for if SYSTEMS[n].python <= sys.version_info]
    options.left_out = [n for n in asked_for if n not in options.system]
    options.settings = _settings(options)
    if not (options.settings or options.list):
        parser.error(
            "nothing to run: no setting has all that was asked for, or none of"
            f" these systems does it: {', '.join(asked_for)}"
        )
    return options


def needs(options: argparse.Namespace) -> list[str]:
    """What ./run must set up."""
    if options.list:
        return []
    needs = [SYSTEMS[name].environment for name in options.system]
    return [need for need in dict.fromkeys(needs) if need != "stock"]


def _show_list() -> None:
    for title, table in (
        ("workloads", {n: _describe(w) for n, w in WORKLOADS.items()}),
        ("systems", {n: s.title for n, s in SYSTEMS.items()}),
        ("kinds", {"forward": "lookup", "step": "lookup, gradient and update"}),
        ("optimizers", dict.fromkeys(OPTIMIZERS, "")),
        ("distributions", dict.fromkeys(DISTRIBUTIONS, "")),
        (
            "commands, ./run bench COMMAND",
            {name: command.title for name, command in command_line.COMMANDS.items()},
        ),
    ):
        print(f"{title}:")
        for name, text in table.items():
            print(f"  {name:20} {text}".rstrip())


def _describe(w: workloads.Workload) -> str:
    bag = str(w.max_bag) if w.min_bag == w.max_bag else f"{w.min_bag}-{w.max_bag}"
    return (
        f"{w.tables} tables x {w.rows:,} rows x {w.dim}, batch {w.batch},"
        f" {bag} ids a bag, {w.combiner}{', weighted' * w.weighted}"
    )


def _settings(
    options: argparse.Namespace,
) -> list[tuple[Setting, list[str]]]:
    """What to set up, and the kinds of calls to time there."""
    quick = options.quick
    names = options.workload or (["W1", "W2", "W3-1"] if quick else list(WORKLOADS))
    optimizers = options.optimizer or (["adagrad"] if quick else list(OPTIMIZERS))
    distributions = options.distribution or (
        ["uniform"] if quick else list(DISTRIBUTIONS)
    )
    threads = options.threads or (["1"] if quick else _USUAL_THREADS)
    kinds = options.kind or list(KINDS)
    settings = []
    for name, distribution, count in itertools.product(
        names, distributions, map(int, threads)
    ):
        workload = WORKLOADS[name]
        if options.clock == "cpu" and count > 1:
            continue
        if count > len(os.sched_getaffinity(0)):
            continue
        if workload.latency:
            # Serving: one thread, no training.
            if count == 1 and "forward" in kinds:
                setting = Setting(workload, distribution, "none", count)
                settings.append((setting, ["forward"]))
            continue
        if kinds == ["forward"]:
            settings.append(
                (Setting(workload, distribution, "none", count), ["forward"])
            )
            continue
        for i, optimizer in enumerate(optimizers):
            setting = Setting(workload, distribution, optimizer, count)
            # A lookup does not depend on the optimizer.
            wanted = [kind for kind in kinds if kind == "step" or i == 0]
            settings.append((setting, wanted))
    systems = [SYSTEMS[name] for name in options.system]
    return [
        (setting, kinds)
        for setting, kinds in settings
        if any("forward" in kinds or s.can_step(setting) for s in systems)
    ]


def main(options: argparse.Namespace) -> int:
    if options.list:
        _show_list()
        return 0
    console = rich.console.Console(stderr=True)
    for name in options.left_out:
        version = ".".join(map(str, SYSTEMS[name].python))
        console.print(f"{name} is left out: it needs Python {version}")
    logs = OUT / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    seconds = options.seconds or (0.5 if options.quick else 2.0)
    runs = []
    if options.keep and (OUT / "results.json").exists():
        runs = json.loads((OUT / "results.json").read_text())["runs"]
    run = describe(options.command) | {"versions": [], "results": []}
    runs.append(run)
    infos = [SYSTEMS[name] for name in options.system]
    try:
        with command_line.progress(console) as progress:
            task = progress.add_task("", total=len(options.settings))
            for setting, kinds in options.settings:

                def say(what: str, setting: Setting = setting) -> None:
                    progress.update(task, description=f"{setting.name}: {what}")

                results, versions = measure.run(
                    setting, infos, kinds, seconds, pythons(), logs, say, options.clock
                )
                run["results"] += [dataclasses.asdict(r) for r in results]
                run["versions"] = list(dict.fromkeys(run["versions"] + versions))
                # An interrupted run leaves what it has.
                (OUT / "results.json").write_text(json.dumps({"runs": runs}, indent=1))
                progress.advance(task)
    except (WorkerError, ValueError) as error:
        console.print(f"[red]error:[/] {error}", soft_wrap=True)
        return 1
    report.write(runs, OUT)
    print((OUT / "report.md").read_text())
    console.print("written to out/bench: report.md, results.json, plots")
    return 0
