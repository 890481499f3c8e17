"""Runs the google-benchmarks, which lie beside the kernels they measure.

What stands after -- goes to each of them.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from benchmarks.systems import ROOT

_QUERY = 'filter("_benchmark$", kind(cc_binary, //tf_embed/...))'


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench kernels", description=__doc__)
    parser.add_argument("--list", action="store_true", help="only show their names")
    parser.add_argument(
        "filter", nargs="?", default="", help="only those with this in their name"
    )
    passed_on = []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, passed_on = arguments[:at], arguments[at + 1 :]
    options = parser.parse_args(arguments)
    options.passed_on = passed_on
    return options


def needs(options: argparse.Namespace) -> list[str]:
    return ["kernels"]


def _bazel(*command: str, quiet: bool = False) -> str:
    return subprocess.run(
        [os.environ.get("BAZEL", "bazel"), *command],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        text=True,
    ).stdout


def main(options: argparse.Namespace) -> int:
    names = [
        name
        for name in _bazel("query", _QUERY, quiet=True).split()
        if options.filter in name
    ]
    if options.list or not names:
        print("\n".join(names) or f"no benchmark has '{options.filter}' in its name")
        return 0 if names else 1
    _bazel("build", *names)
    failed = []
    for name in names:
        print(f"\n[run] {name}", flush=True)
        program = str(ROOT / "bazel-bin" / name[2:].replace(":", "/"))
        if subprocess.run([program, *options.passed_on], cwd=ROOT).returncode:
            failed.append(name)
    for name in failed:
        print(f"[run] FAILED: {name}", file=sys.stderr)
    return 1 if failed else 0
