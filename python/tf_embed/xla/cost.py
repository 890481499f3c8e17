"""What a SavedModel's signatures cost on TPUs, found out without one.

    python -m tf_embed.xla.cost --saved-model DIR --signature serving_default \\
        --batch-size 1024 --topology v5e:2x2 --topology v4:2x2x1
"""

from __future__ import annotations

import argparse
import collections.abc
import dataclasses
import json
import math
import sys
import typing

import tensorflow as tf

from tf_embed.xla import _tpu_compiler, _tpu_cost


def _arguments(
    argv: collections.abc.Sequence[str] | None,
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tf_embed.xla.cost",
        description="Compiles a signature of a SavedModel with the TPU's own "
        "compiler and shows its estimate of time and memory. No TPU is needed.",
    )
    parser.add_argument("--saved-model", required=True, metavar="DIR")
    parser.add_argument(
        "--signature", default="serving_default", help="default: %(default)s"
    )
    parser.add_argument(
        "--batch-size",
        type=int,
        help="for the first dimension of inputs that leave it open",
    )
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="INPUT=N,N,...",
        help="the whole shape of an input; may be repeated",
    )
    parser.add_argument(
        "--topology",
        action="append",
        help="as libtpu spells it; may be repeated; default: one of each "
        f"generation ({' '.join(_tpu_cost.TPU_TOPOLOGIES.values())})",
    )
    parser.add_argument("--json", action="store_true", help="JSON, not a table")
    return parser.parse_args(argv)


def _static_specs(
    signature: typing.Any,
    batch_size: int | None,
    shapes: collections.abc.Mapping[str, collections.abc.Sequence[int]],
) -> dict[str, tf.TensorSpec]:
    """The signature's inputs with their open dimensions filled in."""
    inputs = signature.structured_input_signature[1]
    unknown = sorted(set(shapes) - set(inputs))
    if unknown:
        raise ValueError(
            f"--shape names '{unknown[0]}'; the signature's inputs are "
            f"{', '.join(sorted(inputs))}"
        )
    specs = {}
    for name, spec in inputs.items():
        shape = spec.shape
        if name in shapes:
            shape = tf.TensorShape(shapes[name])
            if not spec.shape.is_compatible_with(shape):
                raise ValueError(
                    f"--shape gives '{name}' {shape}; the signature has {spec.shape}"
                )
        elif batch_size is not None and shape.rank and shape[0] is None:
            shape = tf.TensorShape([batch_size]).concatenate(shape[1:])
        if not shape.is_fully_defined():
            batch_size_helps = batch_size is None and shape.rank
            raise ValueError(
                f"input '{name}' has shape {shape}; give "
                f"{'--batch-size or ' * bool(batch_size_helps)}--shape {name}=N,..."
            )
        specs[name] = tf.TensorSpec(shape, spec.dtype, name=name)
    return specs


def _parse_shapes(
    texts: collections.abc.Iterable[str],
) -> dict[str, list[int]]:
    shapes = {}
    for text in texts:
        name, equals, sizes = text.partition("=")
        try:
            shapes[name] = [int(size) for size in sizes.split(",") if size]
        except ValueError:
            equals = ""
        if not equals:
            raise ValueError(f"--shape {text}: want INPUT=N,N,...")
    return shapes


def _show_table(title: str, costs: dict[str, _tpu_cost.TpuCost]) -> None:
    # Here, so that --json works without rich.
    import rich.box
    import rich.console
    import rich.markup
    import rich.measure
    import rich.table

    table = rich.table.Table(
        title=rich.markup.escape(title), box=rich.box.SIMPLE, padding=(0, 1, 0, 0)
    )
    table.add_column("topology", no_wrap=True)
    for column in (
        "µs", "Gflop", "moved", "arguments", "outputs", "temporaries", "in all",
    ):  # fmt: skip
        table.add_column(column, justify="right", no_wrap=True)
    for topology, cost in costs.items():
        if cost.memory is None:
            table.add_row(topology, "does not compile")
            continue
        sizes = (
            cost.bytes_accessed,
            cost.memory.argument,
            cost.memory.output,
            cost.memory.temp,
            cost.memory.total,
        )
        table.add_row(
            topology,
            f"{cost.seconds * 1e6:,.1f}",
            f"{cost.flops / 1e9:.4g}",
            *(f"{size / 1e6:,.2f}" for size in sizes),
        )
    # A narrow terminal, or a pipe, breaks lines; it cuts no numbers off.
    endless = rich.console.Console(width=10_000)
    needed = rich.measure.Measurement.get(endless, endless.options, table).maximum
    console = rich.console.Console()
    console.width = max(console.width, needed)
    console.print(table)
    for topology, cost in costs.items():
        if cost.error is not None:
            console.print(
                rich.markup.escape(f"{topology}: {cost.error}"), soft_wrap=True
            )


def _as_json(cost: _tpu_cost.TpuCost) -> dict[str, typing.Any]:
    # What is not known: JSON has no NaN.
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in dataclasses.asdict(cost).items()
    }


def main(argv: collections.abc.Sequence[str] | None = None) -> int:
    """Returns 0 if the signature compiles for every topology, else 1."""
    arguments = _arguments(argv)
    try:
        _tpu_compiler.find_python()  # before the model is loaded
        model = tf.saved_model.load(arguments.saved_model)
        if arguments.signature not in model.signatures:
            raise ValueError(
                f"no signature '{arguments.signature}' in "
                f"{arguments.saved_model}; it has "
                f"{', '.join(sorted(model.signatures)) or 'none'}"
            )
        signature = model.signatures[arguments.signature]
        # Not tpu_costs, whose own arguments an input may be named like.
        module = _tpu_cost.stablehlo(
            signature,
            **_static_specs(
                signature, arguments.batch_size, _parse_shapes(arguments.shape)
            ),
        )
        costs = _tpu_cost.tpu_costs_of_modules(
            {"": module},
            arguments.topology or tuple(_tpu_cost.TPU_TOPOLOGIES.values()),
        )[""]
    except (OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(
            json.dumps(
                {name: _as_json(cost) for name, cost in costs.items()},
                indent=2,
            )
        )
    else:
        _show_table(
            f"{arguments.signature}: one run on one core, as the TPU compiler "
            "estimates it; sizes in MB",
            costs,
        )
    return 0 if all(cost.ok for cost in costs.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
