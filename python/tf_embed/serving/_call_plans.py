"""Plans of eager calls: a repeated call is the fused op and little else."""

from collections.abc import Hashable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import ops
from tensorflow.python.saved_model import save_context

from tf_embed.serving._fused_lookup import FusedInputs, RepeatedLookup
from tf_embed.serving._lookup import (
    match_features,
    plan_features,
    serving_embedding_lookup,
)

# More than a program has kinds of calls; few enough to keep.
_MAX_PLANS = 64

_KINDS = (ops.EagerTensor, tf.SparseTensor, tf.RaggedTensor)

Tensors = dict[str, list[tf.Tensor]]


def _flatten(structure: Any, signature: list[Any], leaves: list[Any]) -> None:
    """nest.flatten; `signature` gets what the containers are.

    What is no plain container is a leaf.
    """
    kind = type(structure)
    if kind is dict:
        keys = sorted(structure)
        signature += (kind, len(keys), *keys)
        for key in keys:
            _flatten(structure[key], signature, leaves)
    elif kind is list or kind is tuple:
        signature += (kind, len(structure))
        for item in structure:
            _flatten(item, signature, leaves)
    else:
        signature.append(None)
        leaves.append(structure)


def _pack(structure: Any, outputs: Iterator[tf.Tensor]) -> Any:
    """nest.pack_sequence_as of what _flatten has taken apart."""
    kind = type(structure)
    if kind is dict:
        packed = {key: _pack(structure[key], outputs) for key in sorted(structure)}
        return {key: packed[key] for key in structure}
    if kind is list or kind is tuple:
        return kind([_pack(item, outputs) for item in structure])
    return next(outputs)


def _take_apart(features: Any, weights: Any) -> tuple[Hashable, Tensors] | None:
    """A call's signature and its tensors; None: a kind that has no plan.

    The tensors are the fused op's, by the names of its inputs. The signature is
    what _lookup's planning looks at beside the configuration, with two exceptions:
    whether tensors have sizes that fit together, which the op finds out, and the
    number of rows where there is an output_shape.
    """
    signature: list[Any] = []
    inputs: list[Any] = []
    flat_weights: list[Any] = []
    try:
        _flatten(features, signature, inputs)
        _flatten(weights, signature, flat_weights)
    except TypeError:
        return None  # Keys of a dict that have no order, which nest refuses.
    if weights is None:
        flat_weights *= len(inputs)
    ids: list[tf.Tensor] = []
    indices: list[tf.Tensor] = []
    dense_shapes: list[tf.Tensor] = []
    weight_values: list[tf.Tensor] = []
    weight_splits: list[tf.Tensor] = []
    for inp, weight in zip(inputs, flat_weights, strict=False):
        kind = type(inp)
        weighted = weight is not None
        if kind not in _KINDS or (weighted and type(weight) is not kind):
            return None
        signature += (kind, weighted, inp.dtype)
        if kind is tf.RaggedTensor:
            splits = inp.row_splits
            ids.append(inp.values)
            indices.append(splits)
            if weighted:
                weight_values.append(weight.values)
                if weight.row_splits is not splits:
                    weight_splits.append(weight.row_splits)
                signature += (
                    weight.dtype,
                    weight.ragged_rank,
                    weight.values.shape.rank,
                    weight.row_splits is splits,
                    weight.row_splits.dtype == splits.dtype,
                    weight.uniform_row_length is None,
                    inp.uniform_row_length is None,
                )
        elif kind is tf.SparseTensor:
            ids.append(inp.values)
            indices.append(inp.indices)
            dense_shapes.append(inp.dense_shape)
            signature.append(inp.shape.rank)
            if weighted:
                weight_values.append(weight.values)
                signature += (weight.dtype, weight.shape.rank)
        else:
            ids.append(inp)
    return tuple(signature), {
        "ids": ids,
        "indices": indices,
        "dense_shapes": dense_shapes,
        "weights": weight_values,
        "weight_splits": weight_splits,
    }


def _same(a: Tensors, b: Tensors) -> bool:
    """Whether these are the same tensors in the same order."""
    return all(list(map(id, a[name])) == list(map(id, b[name])) for name in a)


class CallPlans:
    """What an embedding object remembers of its eager calls.

    Calls of the same signature differ in their tensors only, so that only the
    first of them has its structure matched with the configuration and its
    features described to the op; later ones hand over their tensors. W1 of the
    benchmarks, 26 ragged features: 2.4 ms a call down to 1.9.
    """

    def __init__(self) -> None:
        # None: calls of this signature have no plan.
        self._plans: dict[Hashable, RepeatedLookup | None] = {}

    def lookup(self, embedding: Any, features: Any, weights: Any) -> Any:
        """`serving_embedding_lookup` in the tables of `embedding`."""
        call = None
        if tf.executing_eagerly() and not save_context.in_save_context():
            call = _take_apart(features, weights)
            outputs = self._repeated(call, features)
            if outputs is not None:
                return outputs
        outputs = serving_embedding_lookup(
            features,
            weights,
            embedding.embedding_tables,
            embedding._feature_config,
            fused_export=embedding._fused_export,
        )
        # Calls that are refused have got no plan.
        if call is not None and call[0] not in self._plans:
            self._learn(call, embedding, features, weights)
        return outputs

    def _repeated(self, call: Any, features: Any) -> Any:
        """What `lookup` returns; None where there is no plan, or it fails."""
        plan = None if call is None else self._plans.get(call[0])
        if plan is None:
            return None
        try:
            return _pack(features, iter(plan(call[1])))
        except Exception:
            # serving_embedding_lookup finds the words.
            return None

    def _learn(self, call: Any, embedding: Any, features: Any, weights: Any) -> None:
        signature, tensors = call
        matched = match_features(features, weights, embedding._feature_config)
        plans = plan_features(matched, embedding.embedding_tables)
        fused = [plan for plan in plans if plan and plan.output_shape is None]
        repeated = None
        if fused and len(fused) == len(plans):
            inputs = FusedInputs.of(fused)
            if _same(inputs.tensors, tensors):
                repeated = RepeatedLookup(inputs)
        if len(self._plans) >= _MAX_PLANS:
            self._plans.clear()
        self._plans[signature] = repeated
