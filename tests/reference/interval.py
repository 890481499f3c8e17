"""Arithmetic that knows how far a float32 computation may be off.

The reference computes with intervals: each operation returns all values that a
float32 implementation can get, whichever association or fused operation it
uses. A result of the plugin is right if it lies in the interval, so no test
needs a guessed tolerance.
"""

from collections.abc import Sequence
from typing import Union

import numpy as np

# Relative error of one float32 operation, twice: an implementation may
# associate a product or a quotient otherwise, which costs one rounding more.
_ROUNDING = 2.0 * 2.0**-24
# Half the distance of denormals, rounded up.
_SMALLEST = 2.0**-149

Operand = Union["Interval", float, np.ndarray]


class Interval:
    """Bounds of an array of float32 numbers, kept in float64."""

    __array_priority__ = 1000  # ndarray * Interval comes here

    def __init__(self, lo: np.ndarray, hi: np.ndarray):
        self.lo = lo
        self.hi = hi

    @staticmethod
    def exactly(value: Operand) -> "Interval":
        if isinstance(value, Interval):
            return value
        array = np.asarray(value, np.float64)
        return Interval(array, array)

    @staticmethod
    def _rounded(lo: np.ndarray, hi: np.ndarray, ulps: float = 1.0) -> "Interval":
        def slack(x: np.ndarray) -> np.ndarray:
            return np.where(x == 0, 0.0, ulps * _ROUNDING * np.abs(x) + _SMALLEST)

        # Infinite bounds stay.
        with np.errstate(invalid="ignore"):
            return Interval(
                np.where(np.isinf(lo), lo, lo - slack(lo)),
                np.where(np.isinf(hi), hi, hi + slack(hi)),
            )

    def __getitem__(self, key) -> "Interval":
        return Interval(self.lo[key], self.hi[key])

    def with_rows(self, rows: Sequence[int], values: "Interval") -> "Interval":
        """A copy in which `rows` are replaced."""
        lo, hi = self.lo.copy(), self.hi.copy()
        lo[rows], hi[rows] = values.lo, values.hi
        return Interval(lo, hi)

    def __neg__(self) -> "Interval":
        return Interval(-self.hi, -self.lo)

    def __add__(self, other: Operand) -> "Interval":
        other = Interval.exactly(other)
        return Interval._rounded(self.lo + other.lo, self.hi + other.hi)

    __radd__ = __add__

    def __sub__(self, other: Operand) -> "Interval":
        return self + (-Interval.exactly(other))

    def __rsub__(self, other: Operand) -> "Interval":
        return Interval.exactly(other) + (-self)

    def __mul__(self, other: Operand) -> "Interval":
        other = Interval.exactly(other)
        with np.errstate(invalid="ignore"):
            products = np.stack(
                np.broadcast_arrays(
                    self.lo * other.lo,
                    self.lo * other.hi,
                    self.hi * other.lo,
                    self.hi * other.hi,
                )
            )
        products = np.nan_to_num(products, nan=0.0, posinf=np.inf, neginf=-np.inf)
        return Interval._rounded(products.min(0), products.max(0))

    __rmul__ = __mul__

    def __truediv__(self, other: Operand) -> "Interval":
        other = Interval.exactly(other)
        crosses_zero = (other.lo <= 0) & (other.hi >= 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse_lo = np.where(crosses_zero, -np.inf, 1.0 / other.hi)
            inverse_hi = np.where(crosses_zero, np.inf, 1.0 / other.lo)
        return self * Interval(inverse_lo, inverse_hi)

    def __rtruediv__(self, other: Operand) -> "Interval":
        return Interval.exactly(other) / self


def _monotone(x: Interval, function, ulps: float = 1.0) -> Interval:
    a, b = function(x.lo), function(x.hi)
    return Interval._rounded(np.minimum(a, b), np.maximum(a, b), ulps)


def sqrt(x: Interval) -> Interval:
    return _monotone(x, lambda v: np.sqrt(np.maximum(v, 0.0)))


def power(x: Interval, exponent: float) -> Interval:
    """x ** exponent for x >= 0; a float32 pow may be off by a few units."""

    def raise_it(v: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.power(np.maximum(v, 0.0), exponent)

    return _monotone(x, raise_it, ulps=4.0)


def absolute(x: Interval) -> Interval:
    smallest = np.where(
        (x.lo <= 0) & (x.hi >= 0), 0.0, np.minimum(abs(x.lo), abs(x.hi))
    )
    return Interval(smallest, np.maximum(abs(x.lo), abs(x.hi)))


def sign(x: Interval) -> Interval:
    return Interval(np.sign(x.lo), np.sign(x.hi))


def floor(x: Interval) -> Interval:
    return Interval(np.floor(x.lo), np.floor(x.hi))


def minimum(x: Operand, y: Operand) -> Interval:
    x, y = Interval.exactly(x), Interval.exactly(y)
    return Interval(np.minimum(x.lo, y.lo), np.minimum(x.hi, y.hi))


def maximum(x: Operand, y: Operand) -> Interval:
    x, y = Interval.exactly(x), Interval.exactly(y)
    return Interval(np.maximum(x.lo, y.lo), np.maximum(x.hi, y.hi))


def clip(x: Interval, low: Operand, high: Operand) -> Interval:
    return minimum(maximum(x, low), high)


def where_at_least(x: Interval, y: Operand, then: Operand, other: Operand) -> Interval:
    """`then` where x >= y, else `other`; both where rounding decides."""
    y = Interval.exactly(y)
    surely, never = x.lo >= y.hi, x.hi < y.lo
    then, other = Interval.exactly(then), Interval.exactly(other)
    return Interval(
        np.where(
            surely, then.lo, np.where(never, other.lo, np.minimum(then.lo, other.lo))
        ),
        np.where(
            surely, then.hi, np.where(never, other.hi, np.maximum(then.hi, other.hi))
        ),
    )


def where_zero(x: Interval, then: Operand, other: Operand) -> Interval:
    """`then` where x is exactly 0, else `other`."""
    zero = (x.lo == 0) & (x.hi == 0)
    then, other = Interval.exactly(then), Interval.exactly(other)
    return Interval(
        np.where(zero, then.lo, other.lo), np.where(zero, then.hi, other.hi)
    )


def total(terms: list[Interval]) -> Interval:
    """The sum of the terms, in whatever order they are added."""
    lo = np.sum([t.lo for t in terms], axis=0)
    hi = np.sum([t.hi for t in terms], axis=0)
    sizes = np.sum([np.maximum(abs(t.lo), abs(t.hi)) for t in terms], axis=0)
    slack = _ROUNDING * len(terms) * sizes
    return Interval(lo - slack, hi + slack)


def outside(actual: np.ndarray, expected: Interval) -> np.ndarray:
    """Where `actual` is not in the interval (NaN never is)."""
    return ~((actual >= expected.lo) & (actual <= expected.hi))
