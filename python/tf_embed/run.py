"""Runs a TPU program on the virtual TPU, unmodified.

usage: python -m tf_embed.run [--cores N] [--strict] script.py [ARGUMENT...]
       python -m tf_embed.run [--cores N] [--strict] -m MODULE [ARGUMENT...]

Whatever name of a TPU the program gives to TPUClusterResolver, it gets the
virtual one.
"""

import argparse
import os
import runpy
import sys

from tf_embed import virtual_tpu

_DEFAULT_CORES = 8  # of a TPU v2-8 or v3-8, for which most programs are written


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tf_embed.run",
        description="Runs a TPU program on a virtual TPU.",
    )
    parser.add_argument(
        "--cores",
        type=int,
        default=virtual_tpu.num_cores() or _DEFAULT_CORES,
        metavar="N",
        help="cores of the virtual TPU, 1 to 64 (default: TF_EMBED_VIRTUAL_TPU of the"
        f" environment, or {_DEFAULT_CORES})",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="warn of what a real TPU would refuse",
    )
    # Takes all that follows: the module's own options are not ours.
    parser.add_argument(
        "-m",
        dest="module",
        nargs=argparse.REMAINDER,
        default=[],
        help="run a module, as python -m does",
    )
    parser.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        metavar="script.py ...",
        help="the program and its arguments",
    )
    return parser


def main(argv: list[str] | None = None) -> None:
    """Entry point of `python -m tf_embed.run`."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.arguments[:1] == ["--"]:
        del args.arguments[0]
    if not args.module and not args.arguments:
        parser.error("no program to run")
    try:
        virtual_tpu.enable(args.cores, strict=args.strict)
    except (RuntimeError, ValueError) as error:
        parser.error(str(error))
    virtual_tpu.map_tpu_names()
    os.environ["TPU_NAME"] = "local"
    if args.module:
        sys.argv = list(args.module)
        sys.path.insert(0, os.getcwd())
        runpy.run_module(args.module[0], run_name="__main__", alter_sys=True)
        return
    script = args.arguments[0]
    if not os.path.exists(script):
        parser.error(f"there is no {script}")
    sys.argv = list(args.arguments)
    sys.path.insert(0, os.path.dirname(os.path.abspath(script)))
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main()
