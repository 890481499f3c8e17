"""What the commands of ./run bench share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

import rich.console
import rich.progress


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
) -> None:
    """Adds an option for several of the choices, separated by commas."""
    names = list(choices)
    parser.add_argument(
        flag,
        type=_choice(names),
        metavar="A,B",
        default=default,
        help=f"of {', '.join(names)}; default: {', '.join(default or ['all'])}",
    )


def progress(console: rich.console.Console) -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.SpinnerColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn("{task.description}"),
        console=console,
    )
