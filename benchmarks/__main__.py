"""./run bench [COMMAND] ...: the benchmarks."""

import importlib
import runpy
import sys

from benchmarks.command_line import COMMANDS


def main() -> int:
    arguments = sys.argv[1:]
    # ./run asks what to set up before it starts the same command.
    asked_for_needs = arguments[:1] == ["--needs"]
    if asked_for_needs:
        del arguments[0]
    name = "benchmarks.compare"
    if arguments and arguments[0] in COMMANDS:
        command = COMMANDS[arguments.pop(0)]
        name = command.module
        if command.program_needs:
            if asked_for_needs:
                print(*command.program_needs)
                return 0
            sys.argv[1:] = arguments
            runpy.run_module(name, run_name="__main__", alter_sys=True)
            return 0
    if asked_for_needs and {"-h", "--help"} & {*arguments}:
        return 0
    module = importlib.import_module(name)
    options = module.parse(arguments)
    if asked_for_needs:
        print(*module.needs(options))
        return 0
    return module.main(options)


if __name__ == "__main__":
    sys.exit(main())
