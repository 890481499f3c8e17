#!/usr/bin/env python3
"""The command line of both flights programs.

Imports nothing heavy: ./run demo runs this file to see what it was given before
it builds anything.
"""

from __future__ import annotations

import argparse
import pathlib

OUT = pathlib.Path(__file__).resolve().parent.parent / "out"


def parser(description: str | None, prog: str | None = None) -> argparse.ArgumentParser:
    """A parser of what both programs take."""
    made = argparse.ArgumentParser(
        prog=prog,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--epochs", type=int, help="default: what the program needs")
    made.add_argument("--out", type=pathlib.Path, default=OUT, help="default: out/")
    return made


def parse(made: argparse.ArgumentParser, epochs: int = 1) -> argparse.Namespace:
    """The options, checked; the folder --out is there afterwards."""
    options = made.parse_args()
    if options.epochs is None:
        options.epochs = epochs
    if options.epochs < 1:
        made.error("--epochs must be at least 1")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        made.error(f"cannot write into --out: {error}")
    return options


if __name__ == "__main__":
    parse(parser("Trains on 336,776 flights; writes into --out.", "./run demo"))
