"""The gradient of the fused lookup op."""

import dataclasses
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import forwardprop
from tensorflow.python.framework import ops

from tf_embed.serving import _own_ops
from tf_embed.serving._fused_lookup import FusedFeature, FusedInputs


@dataclasses.dataclass
class _TableInput:
    """An input of a lookup op that is a table."""

    tensor: tf.Tensor
    shape: tf.TensorShape


def _taken_apart(op: Any) -> tuple[list[_TableInput], list[FusedFeature]]:
    """The tables of a lookup op, and the features that it was made of."""
    inputs = iter(op.inputs)
    tables = [
        _TableInput(next(inputs), tf.TensorShape(shape))
        for shape in op.get_attr("table_shapes")
    ]
    features = [
        FusedFeature(
            name=tf.compat.as_str(name),
            table=tables[table],
            form=tf.compat.as_str(form),
            combiner=tf.compat.as_str(combiner),
            ids=next(inputs),
            sequence_length=length,
        )
        for name, table, form, combiner, length in zip(
            op.get_attr("feature_names"),
            op.get_attr("feature_tables"),
            op.get_attr("forms"),
            op.get_attr("combiners"),
            op.get_attr("sequence_lengths"),
            strict=True,
        )
    ]
    for name, present in (
        ("indices", [feature.form != "dense" for feature in features]),
        ("dense_shape", [feature.form.startswith("sparse") for feature in features]),
        ("weights", op.get_attr("weighted")),
        ("weight_splits", op.get_attr("weights_have_splits")),
    ):
        for feature, has_one in zip(features, present, strict=True):
            if has_one:
                setattr(feature, name, next(inputs))
    return tables, features


def _is_missing(gradient: Any) -> bool:
    """Whether a gradient is the zeros that stand for none where a graph is built.

    In eager mode these zeros are a tensor like any other.
    """
    if isinstance(gradient, (ops.EagerTensor, tf.IndexedSlices)):
        return False
    op = gradient.op
    if op.type == "Fill":
        op = op.inputs[1].op
    if op.type == "Const":
        return not tf.get_static_value(op.outputs[0]).any()
    return bool(op.type == "ZerosLike")


@ops.RegisterGradient("TfEmbed>FusedEmbeddingLookup")  # type: ignore[untyped-decorator]
def _fused_lookup_gradient(op: Any, *gradients: Any) -> list[Any]:
    if op.get_attr("table_formats"):
        raise NotImplementedError(
            "Lookups in quantized tables have no gradient: train with the"
            " embedding object that they were made from."
        )
    tables, features = _taken_apart(op)
    used = [
        (feature, tf.convert_to_tensor(gradient))
        for feature, gradient in zip(features, gradients, strict=True)
        if not _is_missing(gradient)
    ]
    if not used:
        return [None] * len(op.inputs)
    inputs = FusedInputs.of([feature for feature, _ in used])
    arguments = {
        "gradients": [gradient for _, gradient in used],
        **inputs.tensors,
        **inputs.attributes,
    }
    rows, values = _own_ops.fused_embedding_lookup_grad(
        num_tables=len(inputs.tables), **arguments
    )
    # By the id of a table or a feature.
    found: dict[int, Any] = {
        # int32 as TensorFlow's: tf.cond wants the same type from all branches.
        id(table): tf.IndexedSlices(
            value, row, tf.constant(table.shape.as_list(), tf.int32)
        )
        for table, value, row in zip(inputs.tables, values, rows, strict=True)
    }
    weighted = [feature for feature in features if feature.weights is not None]
    num_splits = sum(feature.weight_splits is not None for feature in features)
    first_weight = len(op.inputs) - num_splits - len(weighted)
    # In eager mode the tape says which inputs it does not watch; in a graph,
    # what nobody asks for is pruned.
    skipped = getattr(op, "skip_input_indices", None) or ()
    wanted = set(range(first_weight, first_weight + len(weighted))) - set(skipped)
    used_weighted = [feature for feature, _ in used if feature.weights is not None]
    if wanted and used_weighted:
        weight_gradients = _own_ops.fused_embedding_lookup_weights_grad(
            tables=[table.tensor for table in inputs.tables], **arguments
        )
        found.update(zip(map(id, used_weighted), weight_gradients, strict=True))
    return [
        *(found.get(id(table)) for table in tables),
        *([None] * (first_weight - len(tables))),
        *(found.get(id(feature)) for feature in weighted),
        *([None] * num_splits),
    ]


def _not_differentiable(*_: Any) -> Any:
    raise NotImplementedError(
        "Lookups on the fused op have first derivatives only, in reverse mode: no"
        " gradient of a gradient, no tf.autodiff.ForwardAccumulator."
    )


for _op in ("FusedEmbeddingLookupGrad", "FusedEmbeddingLookupWeightsGrad"):
    ops.RegisterGradient(f"TfEmbed>{_op}")(_not_differentiable)
forwardprop._SPECIAL_CASES["TfEmbed>FusedEmbeddingLookup"] = _not_differentiable
