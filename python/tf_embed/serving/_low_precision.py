"""Tables of fewer bits than float32: how they are stored and read.

The C++ side of the formats is tf_embed/lookup/row_format.h.
"""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf

# Largest code of the formats that have codes.
_MAX_CODE = {"int8": 255, "int4": 15}
_ELEMENT = {
    "float32": tf.float32,
    "bfloat16": tf.bfloat16,
    "float16": tf.float16,
    "int8": tf.uint8,
    "int4": tf.uint8,
}
FORMATS = tuple(_ELEMENT)

# float32 scale and bias behind the codes of a row.
_SCALE_BYTES = 8
# Below this a step would be subnormal, which TensorFlow's threads flush to 0.
_MIN_STEP = float(np.finfo(np.float32).tiny)


def stored_columns(dtype: str, dim: int) -> int:
    """Elements of a stored row."""
    codes = {"int8": dim, "int4": (dim + 1) // 2}
    return codes[dtype] + _SCALE_BYTES if dtype in codes else dim


def encode(values: tf.Tensor, dtype: str) -> tf.Tensor:
    """float32 rows [N, D] as they are stored.

    Codes are even steps from the smallest to the largest number of the row, so
    that none is off by more than half a step.
    """
    if dtype not in _MAX_CODE:
        return tf.cast(values, _ELEMENT[dtype])
    low = tf.reduce_min(values, axis=1, keepdims=True)
    high = tf.reduce_max(values, axis=1, keepdims=True)
    step = tf.maximum((high - low) / _MAX_CODE[dtype], _MIN_STEP)
    codes = tf.cast(tf.round((values - low) / step), tf.uint8)
    if dtype == "int4":
        codes = tf.pad(codes, [[0, 0], [0, codes.shape[1] % 2]])
        high_half = tf.bitwise.left_shift(codes[:, 1::2], tf.constant(4, tf.uint8))
        codes = tf.bitwise.bitwise_or(codes[:, 0::2], high_half)
    scale_and_bias = tf.bitcast(tf.concat([step, low], axis=1), tf.uint8)
    return tf.concat([codes, tf.reshape(scale_and_bias, [-1, _SCALE_BYTES])], axis=1)


def decode(stored: tf.Tensor, dtype: str, dim: int) -> tf.Tensor:
    """Stored rows [N, columns] as float32 [N, D], by TensorFlow's own ops."""
    if dtype not in _MAX_CODE:
        return tf.cast(stored, tf.float32)
    codes = stored[:, :-_SCALE_BYTES]
    if dtype == "int4":
        low_half = tf.bitwise.bitwise_and(codes, tf.constant(15, tf.uint8))
        high_half = tf.bitwise.right_shift(codes, tf.constant(4, tf.uint8))
        pairs = tf.stack([low_half, high_half], axis=2)
        codes = tf.reshape(pairs, [-1, 2 * codes.shape[1]])[:, :dim]
    scale_and_bias = tf.bitcast(
        tf.reshape(stored[:, -_SCALE_BYTES:], [-1, 2, 4]), tf.float32
    )
    return tf.cast(codes, tf.float32) * scale_and_bias[:, :1] + scale_and_bias[:, 1:]


@dataclasses.dataclass(frozen=True, eq=False)
class LowPrecisionTable:
    """A table that is stored in fewer bits and looked up as float32.

    Attributes:
      variable: the stored rows; uint8 where they are codes.
      dtype: "bfloat16", "float16", "int8" or "int4".
      shape: [V, D] of the numbers.
    """

    variable: tf.Variable
    dtype: str
    shape: tf.TensorShape

    def dequantize(self) -> tf.Tensor:
        """The numbers, float32 [V, D]."""
        return decode(self.variable.read_value(), self.dtype, self.shape[1])

    def lookup(self, ids: tf.Tensor) -> tf.Tensor:
        """Rows of ids of any shape, by TensorFlow's own ops."""
        rows = tf.gather(self.variable, tf.reshape(ids, [-1]))
        rows = decode(rows, self.dtype, self.shape[1])
        return tf.reshape(rows, tf.concat([tf.shape(ids), [self.shape[1]]], 0))

    def compact(self, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """A float32 table of just the rows of `ids` [N], and ids for it.

        Row 0 comes first: TensorFlow looks it up for whatever has no ids.
        Negative ids stay so, to be left out or refused as they would have been.
        """
        first = tf.zeros([1], ids.dtype)
        rows = self.lookup(tf.concat([first, tf.maximum(ids, 0)], axis=0))
        places = tf.range(1, tf.size(ids, out_type=ids.dtype) + 1, dtype=ids.dtype)
        return rows, tf.where(ids < 0, ids, places)


def storage_of(table: Any) -> str:
    """The format of a table, a LowPrecisionTable or any other."""
    return table.dtype if isinstance(table, LowPrecisionTable) else "float32"


@dataclasses.dataclass(frozen=True)
class Errors:
    """How far the stored numbers are from the original ones."""

    max_error: float
    rms_error: float
    rms_value: float


def store(name: str, table: Any, dtype: str) -> tuple[tf.Variable, Errors]:
    """A variable with the rows of a float32 table, stored as `dtype`.

    Raises:
      ValueError: a number is not finite, or `dtype` cannot hold it.
    """
    rows, dim = table.shape
    element = _ELEMENT[dtype]
    variable = tf.Variable(
        tf.zeros([rows, stored_columns(dtype, dim)], element),
        trainable=False,
        name=name,
    )
    largest = squared_error = squared_value = 0.0
    # Few enough rows at a time to hold several times over.
    step = max(1, (32 << 20) // (4 * dim))
    for begin in range(0, rows, step):
        # A slice would be cut from a copy of the table once the table was trained.
        values = tf.gather(table, tf.range(begin, min(begin + step, rows)))
        stored = encode(values, dtype)
        original = values.numpy().astype(np.float64)
        with np.errstate(invalid="ignore"):  # infinity less infinity
            error = np.abs(decode(stored, dtype, dim).numpy() - original)
        if not np.isfinite(error).all():
            raise ValueError(_not_storable(name, dtype, values.numpy(), begin, error))
        variable[begin : begin + step].assign(stored)
        largest = max(largest, float(error.max()))
        squared_error += float(np.square(error).sum())
        squared_value += float(np.square(original).sum())
    count = rows * dim
    return variable, Errors(
        max_error=largest,
        rms_error=(squared_error / count) ** 0.5,
        rms_value=(squared_value / count) ** 0.5,
    )


def _not_storable(
    name: str, dtype: str, values: np.ndarray, begin: int, error: np.ndarray
) -> str:
    row, column = np.argwhere(~np.isfinite(error))[0]
    value = values[row, column]
    where = f"Table '{name}', row {begin + row}"
    if not np.isfinite(value):
        return f"{where}: {value} cannot be stored as {dtype}."
    if dtype in _MAX_CODE:
        return (
            f"{where}: the numbers from {values[row].min():g} to"
            f" {values[row].max():g} are too far apart to be stored as {dtype}."
        )
    return (
        f"{where}: {value:g} cannot be stored as {dtype}, whose largest number is"
        f" {float(_ELEMENT[dtype].max):g}."
    )
