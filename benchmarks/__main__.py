"""./run bench [scaling | kernels] ...: the benchmarks."""

import importlib
import sys

_COMMANDS = {
    "scaling": "benchmarks.scaling",
    "kernels": "benchmarks.kernels",
}


def main() -> int:
    arguments = sys.argv[1:]
    # ./run asks what to set up before it starts the same command.
    asked_for_needs = arguments[:1] == ["--needs"]
    if asked_for_needs:
        del arguments[0]
        if {"-h", "--help"} & {*arguments}:
            return 0
    name = "benchmarks.compare"
    if arguments and arguments[0] in _COMMANDS:
        name = _COMMANDS[arguments.pop(0)]
    module = importlib.import_module(name)
    options = module.parse(arguments)
    if asked_for_needs:
        print(*module.needs(options))
        return 0
    return module.main(options)


if __name__ == "__main__":
    sys.exit(main())
