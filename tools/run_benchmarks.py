#!/usr/bin/env python3
"""Runs the benchmarks: C++ ones beside their code, Python ones in benchmarks/.

What stands after -- goes to each of them.
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CPP = 'filter("_benchmark$", kind(cc_binary, //...))'


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--bazel", default="bazel", help=argparse.SUPPRESS)
    parser.add_argument("--list", action="store_true", help="only show their names")
    parser.add_argument(
        "filter", nargs="?", default="", help="only those with this in their name"
    )
    arguments = sys.argv[1:]
    passed_on = []
    if "--" in arguments:
        at = arguments.index("--")
        arguments, passed_on = arguments[:at], arguments[at + 1 :]
    options = parser.parse_args(arguments)

    def bazel(*command: str) -> str:
        return subprocess.run(
            [options.bazel, *command],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if command[0] == "query" else None,
            text=True,
        ).stdout

    names = bazel("query", CPP).split()
    names += [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "benchmarks").glob("*_benchmark.py"))
    ]
    names = [name for name in names if options.filter in name]
    if options.list or not names:
        print("\n".join(names) or f"no benchmark has '{options.filter}' in its name")
        return 0 if names else 1

    targets = [name for name in names if name.startswith("//")]
    if targets:
        bazel("build", *targets)
    failed = []
    for name in names:
        print(f"\n[run] {name}", flush=True)
        if name in targets:
            command = [str(ROOT / "bazel-bin" / name[2:].replace(":", "/"))]
        else:
            command = [sys.executable, name]
        if subprocess.run([*command, *passed_on], cwd=ROOT).returncode:
            failed.append(name)
    for name in failed:
        print(f"[run] FAILED: {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
