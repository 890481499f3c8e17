"""Which ids go to which output position: docs/ops.md, "How a batch is given".

For each position, the list of its (id, weight) pairs, and whether the combiner
applies.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Positions(NamedTuple):
    pairs: list[list[tuple[int, float]]]
    combined: list[bool]  # False: a sequence's position, coefficient 1


def _positions(
    pairs: list[list[tuple[int, float]]], combined: bool = True
) -> Positions:
    return Positions(pairs, [combined] * len(pairs))


def _weights(ids: np.ndarray, weights: np.ndarray) -> list[float]:
    return [1.0] * len(ids) if len(weights) == 0 else [float(w) for w in weights]


def arbitrary(
    input_shape: Sequence[int],
    indices_or_splits: np.ndarray,
    ids: np.ndarray,
    weights: np.ndarray,
) -> Positions:
    count = int(np.prod(input_shape))
    pairs: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    pair = list(zip((int(i) for i in ids), _weights(ids, weights), strict=True))
    if len(indices_or_splits) == 0:
        for k in range(len(ids)):
            pairs[k].append(pair[k])
        return _positions(pairs)
    if indices_or_splits.ndim == 2:
        for k, row in enumerate(indices_or_splits):
            coordinates = [int(c) for c in row[:-1]]
            if len(input_shape) >= 2 and coordinates[-1] >= input_shape[-1]:
                continue  # beyond the maximum sequence length
            pairs[np.ravel_multi_index(coordinates, input_shape)].append(pair[k])
        return _positions(pairs)
    splits = [int(s) for s in indices_or_splits]
    rows = len(splits) - 1
    if rows == count:
        for r in range(rows):
            pairs[r] = pair[splits[r] : splits[r + 1]]
        return _positions(pairs)
    length = count // rows
    for r in range(rows):
        for j, (id_, _) in enumerate(pair[splits[r] : splits[r + 1]][:length]):
            pairs[r * length + j].append((id_, 1.0))
    return _positions(pairs, combined=False)


def integer(ids: np.ndarray) -> Positions:
    return _positions([[(int(i), 1.0)] for i in ids])


def sparse(
    count: int, sample_indices: np.ndarray, ids: np.ndarray, weights: np.ndarray
) -> Positions:
    pairs: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    for sample, id_, w in zip(sample_indices, ids, _weights(ids, weights), strict=True):
        pairs[int(sample)].append((int(id_), w))
    return _positions(pairs)


def tensor_batch(
    batch_size: int,
    slots_per_example: int,
    first_slot: int,
    max_sequence_length: int,
    num_features: int,
    indices_or_splits: np.ndarray,
    ids: np.ndarray,
    weights: np.ndarray,
    ragged: bool,
) -> tuple[dict[int, list[tuple[int, float]]], bool]:
    """One input of a SparseTensor or RaggedTensor batch: position -> pairs."""
    samples, columns = [], []
    if ragged:
        for r in range(len(indices_or_splits) - 1):
            for j in range(int(indices_or_splits[r + 1] - indices_or_splits[r])):
                samples.append(r)
                columns.append(j)
    elif len(indices_or_splits) == 0:
        samples, columns = list(range(len(ids))), [0] * len(ids)
    elif indices_or_splits.ndim == 1:
        samples, columns = [int(s) for s in indices_or_splits], [0] * len(ids)
    else:
        samples = [int(s) for s in indices_or_splits[:, 0]]
        columns = [int(s) for s in indices_or_splits[:, 1]]
    pairs: dict[int, list[tuple[int, float]]] = {}
    sequence = max_sequence_length > 0
    for sample, column, id_, w in zip(
        samples, columns, ids, _weights(ids, weights), strict=True
    ):
        if sequence:
            if column >= max_sequence_length:
                continue
            example, slot = sample, column
            w = 1.0  # sequences have no weights
        else:
            example, slot = divmod(sample, num_features)
        position = example * slots_per_example + first_slot + slot
        pairs.setdefault(position, []).append((int(id_), w))
    return pairs, not sequence
