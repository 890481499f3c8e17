"""How the time of a lookup and of an Adagrad step grows with the size of things.

Each axis varies one size of a workload and keeps the others; the cost is
nanoseconds per id (per kilobyte of rows on the axis of dimensions). Writes
scaling.json, scaling.md and scaling.png to out/bench.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import shlex
from collections.abc import Iterator

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import rich.console  # noqa: E402
import rich.progress  # noqa: E402

from benchmarks import command_line, measure  # noqa: E402
from benchmarks.machine import OUT, available_bytes, describe  # noqa: E402
from benchmarks.systems import SYSTEMS, WorkerError, pythons  # noqa: E402
from benchmarks.workloads import Setting, Workload  # noqa: E402

# Batches rotate, so that what one has read is gone when it comes again.
_ROTATED_BYTES = 256e6
_MAX_BATCHES = 512


@dataclasses.dataclass(frozen=True)
class Axis:
    base: Workload
    values: tuple[int, ...]
    quick: tuple[int, ...]
    unit: str = "id"

    def setting(self, name: str, value: int) -> Setting:
        w = self.base
        threads = 1
        if name == "threads":
            threads = value
        elif name == "tables":
            # As many rows in all, or the caches would be what is measured.
            w = dataclasses.replace(w, tables=value, rows=w.rows // value)
        elif name == "bag":
            w = dataclasses.replace(w, min_bag=value, max_bag=value)
        else:
            w = dataclasses.replace(w, **{name: value})
        batch_bytes = 4 * w.mean_ids * w.dim
        batches = math.ceil(_ROTATED_BYTES / batch_bytes)
        batches = min(max(batches, 3), _MAX_BATCHES)
        return Setting(w, "uniform", "adagrad", threads, batches)


def _powers(base: int, first: int, last: int) -> tuple[int, ...]:
    return tuple(base**i for i in range(first, last + 1))


AXES = {
    "rows": Axis(
        Workload("rows", 1, 0, 16, 2048, 20, 20),
        _powers(10, 3, 8),
        _powers(10, 3, 6),
    ),
    "dim": Axis(
        Workload("dim", 1, 100_000, 0, 2048, 20, 20),
        (1, 2, 3, 4, 7, *_powers(2, 3, 6), 100, *_powers(2, 7, 10)),
        _powers(4, 0, 4),
        "KB",
    ),
    "bag": Axis(
        Workload("bag", 1, 1_000_000, 64, 256),
        (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
        (1, 10, 100),
    ),
    "batch": Axis(
        Workload("batch", 1, 1_000_000, 64, 0, 20, 20),
        _powers(4, 0, 8),
        _powers(16, 0, 3),
    ),
    "tables": Axis(
        Workload("tables", 0, 2_000_000, 32, 32, 10, 10),
        (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
        (1, 10, 100, 1000),
    ),
    "threads": Axis(
        Workload("threads", 8, 250_000, 64, 2048, 1, 39, "mean"),
        tuple(range(1, (os.cpu_count() or 1) + 1)),
        tuple(range(1, (os.cpu_count() or 1) + 1)),
    ),
}
_SYSTEMS = ("core", "engine", "raw-ops")


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench scaling", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer, smaller sizes")
    command_line.add_choice(parser, "--axis", AXES)
    command_line.add_choice(parser, "--system", _SYSTEMS, default=["core"])
    parser.add_argument(
        "--seconds", type=float, default=0.3, help="to time each kind of call"
    )
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: time on a core, for a machine that others use; no threads axis",
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep the other points of earlier runs"
    )
    options = parser.parse_args(arguments)
    options.command = shlex.join(["./run", "bench", "scaling", *arguments])
    return options


def needs(options: argparse.Namespace) -> list[str]:
    return list(dict.fromkeys(SYSTEMS[name].environment for name in options.system))


@dataclasses.dataclass(frozen=True)
class Point:
    axis: str
    value: int
    system: str
    kind: str
    median_us: float
    cost_ns: float  # per unit of the axis

    @property
    def key(self) -> tuple[str, int, str, str]:
        return self.axis, self.value, self.system, self.kind


def _points(
    options: argparse.Namespace, progress: rich.progress.Progress
) -> Iterator[Point]:
    todo = [
        (name, value, system)
        for name in options.axis or AXES
        if not (name == "threads" and options.clock == "cpu")
        for value in (AXES[name].quick if options.quick else AXES[name].values)
        for system in options.system
    ]
    task = progress.add_task("", total=len(todo))
    for name, value, system in todo:
        axis = AXES[name]
        setting = axis.setting(name, value)
        title = f"{name} {value:,}, {system}"

        def say(what: str, title: str = title) -> None:
            progress.update(task, description=f"{title}: {what}")

        # What fits only without the slots is left out too.
        if SYSTEMS[system].bytes(setting) > 0.8 * available_bytes():
            progress.console.print(f"{title}: left out, too little memory")
            progress.advance(task)
            continue
        results, _ = measure.run(
            setting,
            [SYSTEMS[system]],
            ["forward", "step"],
            options.seconds,
            pythons(),
            OUT / "logs",
            say,
            options.clock,
        )
        work = setting.workload.mean_ids
        if axis.unit == "KB":
            work *= setting.workload.dim * 4 / 1024
        for r in results:
            if r.kind != "empty":
                cost = r.median_us * 1e3 / work
                yield Point(name, value, system, r.kind, r.median_us, cost)
        progress.advance(task)


def main(options: argparse.Namespace) -> int:
    console = rich.console.Console(stderr=True)
    (OUT / "logs").mkdir(parents=True, exist_ok=True)
    file = OUT / "scaling.json"
    runs = []
    if options.keep and file.exists():
        runs = json.loads(file.read_text())["runs"]
    run = describe(options.command) | {"points": []}
    runs.append(run)
    try:
        with command_line.progress(console) as progress:
            for point in _points(options, progress):
                run["points"].append(dataclasses.asdict(point))
                file.write_text(json.dumps({"runs": runs}, indent=1))
    except (WorkerError, ValueError) as error:
        console.print(f"[red]error:[/] {error}", soft_wrap=True)
        return 1
    latest = {}
    for values in (values for run in runs for values in run["points"]):
        point = Point(**values)
        latest[point.key] = point
    points = sorted(latest.values(), key=lambda point: point.value)
    text = _markdown(runs, points)
    (OUT / "scaling.md").write_text(text)
    _plot(points)
    print(text)
    console.print("written to out/bench: scaling.md, scaling.json, scaling.png")
    return 0


def _curves(points: list[Point], axis: str) -> dict[tuple[str, str], dict[int, Point]]:
    curves: dict[tuple[str, str], dict[int, Point]] = {}
    for p in points:
        if p.axis == axis:
            curves.setdefault((p.system, p.kind), {})[p.value] = p
    return curves


def _markdown(runs: list[dict], points: list[Point]) -> str:
    lines = ["# Scaling", "", runs[-1]["machine"], ""]
    lines += [
        f"- `{run['command']}`, commit {run['commit']}, {run['date']}" for run in runs
    ]
    for name, axis in AXES.items():
        curves = _curves(points, name)
        if not curves:
            continue
        values = sorted({value for curve in curves.values() for value in curve})
        lines += [
            "",
            f"## {name}: nanoseconds per {axis.unit}",
            "",
            "| | " + " | ".join(f"{value:,}" for value in values) + " |",
            "| --- |" + " ---: |" * len(values),
        ]
        for (system, kind), curve in curves.items():
            cells = [f"{curve[v].cost_ns:.2f}" if v in curve else "" for v in values]
            lines.append(f"| {system}, {kind} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _plot(points: list[Point]) -> None:
    figure, grid = plt.subplots(2, 3, figsize=(11, 6))
    for (name, axis), axes in zip(AXES.items(), grid.flat, strict=False):
        for (system, kind), curve in _curves(points, name).items():
            costs = [point.cost_ns for point in curve.values()]
            axes.plot(list(curve), costs, marker=".", label=f"{system}, {kind}")
        axes.set_title(name, fontsize=10)
        axes.set_ylabel(f"ns per {axis.unit}", fontsize=8)
        axes.set_yscale("log")
        if name != "threads":
            axes.set_xscale("log")
        axes.spines[["top", "right"]].set_visible(False)
        if axes.lines:
            axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(OUT / "scaling.png", dpi=110)
    plt.close(figure)
