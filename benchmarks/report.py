"""Tables and plots of results."""

from __future__ import annotations

import pathlib
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from benchmarks.measure import Result  # noqa: E402
from benchmarks.systems import SYSTEMS  # noqa: E402

_KINDS = {
    "forward": "Lookup",
    "step": "Lookup, gradient and update",
}


def _results(runs: list[dict[str, Any]]) -> list[Result]:
    """The latest of each key."""
    latest = {}
    for run in runs:
        for values in run["results"]:
            result = Result(**values)
            latest[result.key] = result
    return list(latest.values())


def _case(result: Result, threads: bool = True) -> str:
    parts = [result.workload, result.distribution, result.optimizer]
    if threads and result.threads > 1:
        parts.append(f"{result.threads} threads")
    return " ".join(part for part in parts if part)


def _cell(result: Result) -> str:
    def text(us: float) -> str:
        return f"{us:,.0f}" if us >= 100 else f"{us:.1f}"

    cell = f"{text(result.median_us)} ({text(result.p10_us)})"
    if result.core_us and result.system != "core":
        cell += f" {result.median_us / result.core_us:.2f}x"
    system = SYSTEMS[result.system]
    # Of rows of float32, as the accesses are; rows that recur come from a cache.
    if (
        result.memory_us
        and result.distribution == "uniform"
        and not system.limit
        and system.row_share == 1
    ):
        cell += f" {result.memory_us / result.median_us:.0%}"
    return cell


def _table(cells: dict[tuple[str, str], str], rows: dict[str, str]) -> list[str]:
    """A column a case; a row for each key of `rows` that has a cell."""
    cases = dict.fromkeys(case for case, _ in cells)
    texts = {
        title: [cells.get((case, key), "") for case in cases]
        for key, title in rows.items()
    }
    return [
        "| | " + " | ".join(cases) + " |",
        "| --- |" + " ---: |" * len(cases),
        *(
            f"| {title} | " + " | ".join(row) + " |"
            for title, row in texts.items()
            if any(row)
        ),
        "",
    ]


def _markdown(results: list[Result], kind: str) -> list[str]:
    chosen = [r for r in results if r.kind == kind]
    if not chosen:
        return []
    cells = {(_case(r), r.system): _cell(r) for r in chosen}
    cells |= {
        (_case(r), f"{r.system} empty"): _cell(r)
        for r in results
        if r.kind == "empty" and kind == "forward"
    }
    rows = {}
    for name, system in SYSTEMS.items():
        rows[name] = system.title
        rows[f"{name} empty"] = f"{system.title}: empty function"
    return [f"## {_KINDS[kind]}", "", *_table(cells, rows)]


def _more_threads(results: list[Result]) -> list[str]:
    """How many times as fast several threads are as one."""
    alone = {(_case(r), r.kind, r.system): r for r in results if r.threads == 1}
    cells = {}
    for result in results:
        one = alone.get((_case(result, threads=False), result.kind, result.system))
        if result.threads == 1 or one is None:
            continue
        case = f"{_case(result)} {result.kind if not result.optimizer else ''}".strip()
        cells[case, result.system] = f"{one.median_us / result.median_us:.2f}x"
    if not cells:
        return []
    rows = {name: system.title for name, system in SYSTEMS.items()}
    return ["## More threads, times as fast as one", "", *_table(cells, rows)]


def _header(runs: list[dict[str, Any]]) -> list[str]:
    versions = dict.fromkeys(version for run in runs for version in run["versions"])
    lines = [
        "# Benchmarks",
        "",
        runs[-1]["machine"],
        "",
        *(f"- {version}" for version in versions),
        "",
        *(
            f"- `{run['command']}`, commit {run['commit']}, {run['date']}"
            for run in runs
        ),
        "",
        "Microseconds a call: median (tenth percentile), ratio to the C++ core that"
        " took turns with the system; of uniform ids also how much of it the memory"
        " accesses alone take: as many random rows read by as many threads, and in a"
        " step the rows of the unique ids read and written.",
        "",
    ]
    return lines


def _plot(results: list[Result], kind: str, path: pathlib.Path) -> None:
    """Bars: how many times as long as the core each system takes."""
    chosen = [
        r
        for r in results
        if r.kind == kind and r.core_us and not r.workload.startswith("W3")
    ]
    cases = list(dict.fromkeys(_case(r) for r in chosen))
    systems = [name for name in SYSTEMS if any(r.system == name for r in chosen)]
    if not cases or len(systems) < 2:
        return
    ratios = {(_case(r), r.system): r.median_us / r.core_us for r in chosen}
    figure, axes = plt.subplots(figsize=(2 + 1.6 * len(cases), 4.5))
    width = 0.85 / len(systems)
    for i, name in enumerate(systems):
        places = [c + (i - (len(systems) - 1) / 2) * width for c in range(len(cases))]
        heights = [ratios.get((case, name), 0) for case in cases]
        bars = axes.bar(places, heights, width, label=SYSTEMS[name].title)
        labels = [f"{h:.1f}" if h else "" for h in heights]
        axes.bar_label(bars, labels, fontsize=6)
    axes.set_xticks(range(len(cases)), cases, fontsize=8, rotation=15)
    axes.set_ylabel("time, C++ core = 1")
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_title(_KINDS[kind])
    axes.legend(fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def write(runs: list[dict[str, Any]], folder: pathlib.Path) -> None:
    """Writes report.md, forward.png and step.png."""
    results = _results(runs)
    lines = _header(runs)
    for kind in _KINDS:
        lines += _markdown(results, kind)
        _plot(results, kind, folder / f"{kind}.png")
    lines += _more_threads(results)
    (folder / "report.md").write_text("\n".join(lines))
