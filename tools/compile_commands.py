#!/usr/bin/env python3
"""Writes compile_commands.json, from which clangd knows how each file compiles.

The commands are what Bazel says it would run (aquery); nothing is built.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(prog="./run compdb", description=__doc__)
    parser.add_argument("--bazel", default="bazel", help=argparse.SUPPRESS)
    bazel = parser.parse_args().bazel

    def query(*arguments: str) -> str:
        return subprocess.run(
            [bazel, *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    # Paths in the commands are relative to the execution root, where the
    # repositories of TensorFlow's headers are linked too.
    execution_root = query("info", "execution_root").strip()
    actions = json.loads(
        query("aquery", "--output=jsonproto", 'mnemonic("CppCompile", //...)')
    )
    commands = {}
    for action in actions["actions"]:
        arguments = action["arguments"]
        source = arguments[arguments.index("-c") + 1]
        if source.startswith("external/"):
            continue
        # gcc's own options would stop clangd.
        arguments = [
            a for a in arguments if a not in ("-fno-canonical-system-headers",)
        ]
        commands[source] = {
            "directory": execution_root,
            "file": str(ROOT / source) if (ROOT / source).exists() else source,
            "arguments": arguments,
        }
    path = ROOT / "compile_commands.json"
    path.write_text(json.dumps(list(commands.values()), indent=1) + "\n")
    print(f"{path.name}: {len(commands)} files")


if __name__ == "__main__":
    main()
