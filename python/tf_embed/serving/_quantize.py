"""Trained tables in fewer bits, for serving."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.python.tpu import tpu_embedding_base

from tf_embed._autograph import not_converted
from tf_embed.serving._call_plans import CallPlans
from tf_embed.serving._low_precision import (
    FORMATS,
    Errors,
    LowPrecisionTable,
    store,
    stored_columns,
)


def _size(num_bytes: float) -> str:
    for unit in ("B", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.4g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.4g} GB"


@dataclasses.dataclass(frozen=True)
class TableReport:
    """What became of one table.

    Attributes:
      name: of the table.
      dtype: how it is stored now.
      rows: of the table, V.
      dim: of the table, D.
      bytes_before: of the float32 table, without slot variables.
      bytes_after: of the stored table.
      max_error: largest difference of a number from what it was.
      rms_error: root of the mean squared difference.
      rms_value: the same of the numbers themselves, to compare with.
    """

    name: str
    dtype: str
    rows: int
    dim: int
    bytes_before: int
    bytes_after: int
    max_error: float
    rms_error: float
    rms_value: float

    @property
    def ratio(self) -> float:
        """How many times smaller the table is."""
        return self.bytes_before / self.bytes_after


@dataclasses.dataclass(frozen=True)
class QuantizationReport:
    """What `quantize` did; prints as a table.

    Attributes:
      tables: a report on each table, in the order of the embedding object.
    """

    tables: Sequence[TableReport]

    @property
    def bytes_before(self) -> int:
        """Of all float32 tables."""
        return sum(table.bytes_before for table in self.tables)

    @property
    def bytes_after(self) -> int:
        """Of all stored tables."""
        return sum(table.bytes_after for table in self.tables)

    @property
    def ratio(self) -> float:
        """How many times smaller the tables are together."""
        return self.bytes_before / self.bytes_after

    def __str__(self) -> str:
        lines: list[tuple[str, ...]] = [
            ("table", "stored as", "shape", "before", "after", "ratio")
            + ("max error", "rms error", "rms value")
        ]
        for table in self.tables:
            sizes = (_size(table.bytes_before), _size(table.bytes_after))
            errors = (table.max_error, table.rms_error, table.rms_value)
            lines.append(
                (
                    table.name,
                    table.dtype,
                    f"[{table.rows}, {table.dim}]",
                    *sizes,
                    f"{table.ratio:.2f}x",
                    *(f"{error:.3g}" for error in errors),
                )
            )
        if len(self.tables) > 1:
            sizes = (_size(self.bytes_before), _size(self.bytes_after))
            lines.append(("all", "", "", *sizes, f"{self.ratio:.2f}x", "", "", ""))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                text.ljust(width) if i < 3 else text.rjust(width)
                for i, (text, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )


class QuantizedEmbedding(tf.Module):  # type: ignore[misc]
    """Tables in fewer bits, looked up as `TPUEmbeddingForServing` looks them up.

    Made by `tf_embed.quantize`. Rows are turned into float32 as they are read,
    sums and results are float32. In a `tf.Module` that is exported, it writes
    stock ops, or the fused one where `fused_export` was asked for.

    Args:
      feature_config: nested structure of
        `tf.tpu.experimental.embedding.FeatureConfig`.
      stored: how each TableConfig is stored, and its variable.
      report: what `quantize` found.
      fused_export: as in `quantize`.

    Attributes:
      report: size and error of each table.

    Example:

    >>> import tensorflow as tf, tf_embed
    >>> embedding = tf.tpu.experimental.embedding
    >>> table = embedding.TableConfig(
    ...     vocabulary_size=3, dim=2, initializer=embedding.RowIdInitializer())
    >>> layer = tf_embed.TPUEmbeddingForServing(
    ...     embedding.FeatureConfig(table=table), optimizer=None)
    >>> layer.build()
    >>> tf_embed.quantize(layer, "int8")(tf.constant([2, 1])).numpy()
    array([[2., 2.],
           [1., 1.]], dtype=float32)
    """

    def __init__(
        self,
        feature_config: Any,
        stored: Mapping[Any, tuple[str, tf.Variable]],
        report: QuantizationReport,
        fused_export: bool,
    ) -> None:
        super().__init__(name="quantized_embedding")
        self._feature_config = feature_config
        # Under the names of the tables, for checkpoints and exports.
        self._variables = {
            config.name: variable for config, (_, variable) in stored.items()
        }
        self._tables = tuple(
            (
                config,
                variable
                if dtype == "float32"
                else LowPrecisionTable(
                    variable,
                    dtype,
                    tf.TensorShape([config.vocabulary_size, config.dim]),
                ),
            )
            for config, (dtype, variable) in stored.items()
        )
        self._fused_export = fused_export
        self._call_plans = CallPlans()
        self.report = report

    @property
    def embedding_tables(self) -> dict[Any, Any]:
        """TableConfig to `LowPrecisionTable`, or variable where it is float32."""
        return dict(self._tables)

    def build(self) -> None:
        """Does nothing: the variables exist."""

    @not_converted
    def __call__(self, features: Any, weights: Any | None = None) -> Any:
        """Looks up `features`; see `tf_embed.serving_embedding_lookup`."""
        return self.embedding_lookup(features, weights)

    @not_converted
    def embedding_lookup(self, features: Any, weights: Any | None = None) -> Any:
        """Looks up `features`; see `tf_embed.serving_embedding_lookup`."""
        return self._call_plans.lookup(self, features, weights)

    def __repr__(self) -> str:
        tables = ", ".join(
            f"{table.name}: {table.dtype} [{table.rows}, {table.dim}]"
            for table in self.report.tables
        )
        return (
            f"<QuantizedEmbedding {tables}; {_size(self.report.bytes_after)}, was"
            f" {_size(self.report.bytes_before)}>"
        )


def _check_dtype(what: str, dtype: Any) -> str:
    name = getattr(dtype, "name", dtype)  # tf.int8 is "int8"
    if name not in FORMATS:
        raise ValueError(
            f"{what} cannot be stored as {dtype!r}; there are {', '.join(FORMATS)}."
        )
    return str(name)


def _choose(dtype: Any, names: Sequence[str]) -> dict[str, str]:
    """How to store each table."""
    if not isinstance(dtype, Mapping):
        return dict.fromkeys(names, _check_dtype("Tables", dtype))
    unknown = sorted(set(dtype) - set(names))
    if unknown:
        raise ValueError(
            f"There is no table '{unknown[0]}'; there are {', '.join(names)}."
        )
    return {
        name: _check_dtype(f"Table '{name}'", dtype.get(name, "float32"))
        for name in names
    }


def quantize(
    embedding: Any,
    dtype: str | Mapping[str, str] = "int8",
    *,
    fused_export: bool = False,
) -> QuantizedEmbedding:
    """Copies trained tables into fewer bits, for serving.

    A row of "int8" or "int4" has a scale and a bias of its own, so that each
    number is off by at most half of a 255th, or of a 15th, of the difference
    between the largest and the smallest number of its row. "bfloat16" and
    "float16" round to the nearest.

    Args:
      embedding: a `tf_embed.TPUEmbeddingForServing` or TensorFlow's.
      dtype: "int8", "int4", "bfloat16" or "float16" for all tables; or a dict of
        table names to one of these, tables not named stay "float32".
      fused_export: whether `tf.saved_model.save` writes the fused op, for
        servers that load tf_embed. Where its options have a namespace whitelist,
        "TfEmbed" must be on it. By default it writes stock ops, for any server.

    Returns:
      A `QuantizedEmbedding`, to be called as `embedding` is. Its `report` has the
      size and the error of each table.

    Raises:
      TypeError: `embedding` is no embedding object.
      ValueError: there is no such type or table, or a table holds numbers that
        the type cannot: infinities, NaN, or in float16 more than 65504.
      RuntimeError: called in a `tf.function`.

    Example:

    >>> import tensorflow as tf, tf_embed
    >>> config = tf.tpu.experimental.embedding
    >>> table = config.TableConfig(
    ...     vocabulary_size=4, dim=16, combiner="sum", name="video",
    ...     initializer=config.RowIdInitializer())
    >>> layer = tf_embed.TPUEmbeddingForServing(
    ...     config.FeatureConfig(table=table), optimizer=None)
    >>> small = tf_embed.quantize(layer, "int8")
    >>> small
    <QuantizedEmbedding video: int8 [4, 16]; 96 B, was 256 B>
    >>> small(tf.ragged.constant([[1, 3], []]))[:, 0].numpy().tolist()
    [4.0, 0.0]
    """
    if not isinstance(embedding, tpu_embedding_base.TPUEmbeddingBase):
        raise TypeError(
            "quantize takes a TPUEmbeddingForServing, not a"
            f" {type(embedding).__name__}."
        )
    if not tf.executing_eagerly():
        raise RuntimeError("quantize copies tables: call it outside of tf.function.")
    tables = embedding.embedding_tables
    dtypes = _choose(dtype, [config.name for config in tables])
    stored = {}
    reports = []
    for config, table in tables.items():
        if table.dtype != tf.float32 or table.shape.rank != 2:
            raise ValueError(
                f"Table '{config.name}' cannot be quantized: it is {table.dtype.name}"
                f" of shape {table.shape}, not a float32 matrix."
            )
        name = dtypes[config.name]
        variable, errors = store(config.name, table, name)
        stored[config] = (name, variable)
        reports.append(_report(config, name, errors))
    return QuantizedEmbedding(
        embedding._feature_config,
        stored,
        QuantizationReport(tuple(reports)),
        fused_export,
    )


def _report(config: Any, dtype: str, errors: Errors) -> TableReport:
    rows, dim = config.vocabulary_size, config.dim
    element_bytes = {"float32": 4, "bfloat16": 2, "float16": 2}.get(dtype, 1)
    return TableReport(
        name=config.name,
        dtype=dtype,
        rows=rows,
        dim=dim,
        bytes_before=4 * rows * dim,
        bytes_after=rows * stored_columns(dtype, dim) * element_bytes,
        **dataclasses.asdict(errors),
    )
