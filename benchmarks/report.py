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


def _case(result: Result) -> str:
    parts = [result.workload, result.distribution, result.optimizer]
    threads = f"{result.threads} threads" if result.threads > 1 else ""
    return " ".join(part for part in (*parts, threads) if part)


def _cell(result: Result) -> str:
    def text(us: float) -> str:
        return f"{us:,.0f}" if us >= 100 else f"{us:.1f}"

    cell = f"{text(result.median_us)} ({text(result.p10_us)})"
    if result.core_us and result.system != "core":
        cell += f" {result.median_us / result.core_us:.2f}x"
    if result.of_bandwidth and result.distribution == "uniform":
        cell += f" {result.of_bandwidth:.0%}"
    return cell


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
    cases = dict.fromkeys(case for case, _ in cells)
    rows = []
    for name, system in SYSTEMS.items():
        for key, title in (
            (name, system.title),
            (f"{name} empty", f"{system.title}: empty function"),
        ):
            texts = [cells.get((case, key), "") for case in cases]
            if any(texts):
                rows.append(f"| {title} | " + " | ".join(texts) + " |")
    return [
        f"## {_KINDS[kind]}",
        "",
        "| | " + " | ".join(cases) + " |",
        "| --- |" + " ---: |" * len(cases),
        *rows,
        "",
    ]


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
        " took turns with the system; of lookups of uniform ids by one thread, also"
        " the fraction of the bandwidth of random-row reads, measured in the same"
        " run.",
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
    (folder / "report.md").write_text("\n".join(lines))
