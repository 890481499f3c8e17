"""What the commands of ./run bench share."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterable

import rich.console
import rich.progress


@dataclasses.dataclass(frozen=True)
class Command:
    """What `./run bench NAME` runs."""

    module: str
    title: str
    # What ./run must set up for a program of its own, which imports tf_embed
    # and parses its arguments then. The others answer `parse` and `needs`.
    program_needs: tuple[str, ...] = ()


COMMANDS = {
    "scaling": Command(
        "benchmarks.scaling", "how the time grows with rows, ids, tables, ..."
    ),
    "kernels": Command("benchmarks.kernels", "google-benchmark, beside the kernels"),
    "startup": Command(
        "benchmarks.engine_startup",
        "what a table of many GB takes to configure, load, train and save",
        ("tf_embed",),
    ),
    "serving-startup": Command(
        "benchmarks.serving_startup",
        "import, first call and memory of TPUEmbeddingForServing",
        ("tf_embed",),
    ),
    "v0": Command(
        "benchmarks.v0_benchmark",
        "TPUEmbeddingV0 and TensorFlow's, on the virtual TPU",
        ("tf_embed",),
    ),
    "compiled-step": Command(
        "benchmarks.compiled_step_benchmark",
        "Recv and Send inside of a compiled function and outside",
        ("tf_embed",),
    ),
    "tpu-costs": Command(
        "benchmarks.tpu_costs",
        "the TPU compiler's estimates, the tables of docs/xla.md",
        ("tf_embed", "tpu-compiler"),
    ),
}


def _choice(known: list[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(
                    f"no '{name}'; there are: {', '.join(known)}"
                )
        return names

    return parse


def add_choice(
    parser: argparse.ArgumentParser,
    flag: str,
    choices: Iterable[str],
    default: list[str] | None = None,
    usual: str = "all",
) -> None:
    """Adds an option for several of the choices, separated by commas.

    usual: what None stands for, for the help.
    """
    names = list(choices)
    parser.add_argument(
        flag,
        type=_choice(names),
        metavar="A,B",
        default=default,
        help=f"of {', '.join(names)}; default: {', '.join(default or [usual])}",
    )


def progress(console: rich.console.Console) -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.SpinnerColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("{task.description}"),
        console=console,
    )
