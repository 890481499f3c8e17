"""The ops themselves: shapes that functions are traced with, and bad arguments."""

import pytest
import tensorflow as tf

import tf_embed  # noqa: F401
from tf_embed.serving import _own_ops

_TABLE = [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]


def _arguments(**changes):
    """One dense feature in a table of 3 rows; with `changes`."""
    arguments = {
        "ids": [tf.constant([2, 0])],
        "indices": [],
        "dense_shapes": [],
        "weights": [],
        "weight_splits": [],
        "table_shapes": [[3, 2]],
        "feature_tables": [0],
        "feature_names": ["f"],
        "forms": ["dense"],
        "combiners": ["sum"],
        "sequence_lengths": [0],
        "weighted": [False],
        "weights_have_splits": [False],
    }
    return {**arguments, **changes}


def _lookup(**changes):
    return _own_ops.fused_embedding_lookup(
        tables=[tf.constant(_TABLE)], num_features=1, **_arguments(**changes)
    )


def test_tables_may_be_tensors():
    assert _lookup()[0].numpy().tolist() == [[4.0, 5.0], [0.0, 1.0]]


_BAD = [
    ({"forms": ["odd"]}, "unknown element 'odd'"),
    ({"combiners": ["max"]}, "unknown element 'max'"),
    ({"forms": ["ragged"]}, "lists of inputs do not fit|need 1 indices, not 0"),
    ({"forms": ["sparse"]}, "lists of inputs do not fit|need 1 indices, not 0"),
    ({"weighted": [True]}, "lists of inputs do not fit"),
    ({"weights_have_splits": [True]}, "lists of inputs do not fit"),
    ({"feature_tables": [1]}, r"feature_tables\[0\] = 1"),
    ({"feature_tables": [-1]}, r"feature_tables\[0\] = -1"),
    ({"feature_names": []}, "must have 1 elements, one a feature"),
    ({"forms": []}, "must have 1 elements, one a feature"),
    ({"sequence_lengths": [-2]}, r"sequence_lengths\[0\] = -2 is negative"),
    ({"table_shapes": [[3, 7]]}, "but the op was built for dimension 7"),
    ({"table_shapes": [[3]]}, r"table_shapes\[0\]|names no table of rank 2"),
    ({"table_shapes": []}, "feature_tables|table_shapes"),
    ({"ids": [tf.constant([3])]}, r"indices\[0\] = 3 is not in \[0, 3\)"),
    (
        {
            "forms": ["ragged"],
            "ids": [tf.constant([[1]])],
            "indices": [tf.constant([0, 1])],
        },
        "must be a vector",
    ),
    (
        {"forms": ["ragged"], "indices": [tf.constant([[0], [2]])]},
        "row splits must be a vector|must be rank 1",
    ),
]


@pytest.mark.parametrize(("changes", "message"), _BAD)
@pytest.mark.parametrize("traced", [False, True])
def test_bad_arguments_are_errors(changes, message, traced):
    lookup = tf.function(_lookup) if traced else _lookup
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=message):
        lookup(**changes)


def test_gradient_of_another_shape_is_refused():
    with pytest.raises(tf.errors.InvalidArgumentError, match="gradient of 'f'"):
        _own_ops.fused_embedding_lookup_grad(
            gradients=[tf.zeros([2, 3])], num_tables=1, **_arguments()
        )


def test_weights_that_a_form_has_no_use_for_get_no_gradient():
    (gradient,) = _own_ops.fused_embedding_lookup_weights_grad(
        tables=[tf.constant(_TABLE)],
        gradients=[tf.ones([2, 2])],
        **_arguments(weights=[tf.constant([3.0, 4.0])], weighted=[True]),
    )
    assert gradient.numpy().tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("form", "length", "indices", "dense_shape", "expected"),
    [
        ("dense", 0, None, None, [None, 2]),
        ("ragged", 0, [None], None, [None, 2]),
        ("ragged", 0, [5], None, [4, 2]),
        ("ragged_sequence", 3, [5], None, [4, 3, 2]),
        ("sparse", 0, [None, 2], [4, 9], [None, 2]),
        ("sparse_safe", 0, [None, 2], [4, 9], [4, 2]),
        ("sparse_safe", 0, [None, 3], [4, 5, 9], [4, 5, 2]),
        ("sparse_safe", 0, [None, None], None, None),
        ("sparse_sequence", 3, [None, 2], [4, 9], [4, 3, 2]),
        ("sparse_sequence", 3, [None, 2], None, [None, 3, 2]),
    ],
)
def test_static_shapes(form, length, indices, dense_shape, expected):
    @tf.function(autograph=False)
    def traced(ids, places, shape):
        sparse = form.startswith("sparse")
        return _lookup(
            ids=[ids],
            forms=[form],
            sequence_lengths=[length],
            indices=[] if form == "dense" else [places],
            dense_shapes=[tf.constant(dense_shape, tf.int64) if dense_shape else shape]
            if sparse
            else [],
        )[0]

    concrete = traced.get_concrete_function(
        tf.TensorSpec([None], tf.int64),
        tf.TensorSpec(indices or [None], tf.int64),
        tf.TensorSpec([None], tf.int64),
    )
    shape = concrete.structured_outputs.shape
    assert (shape.as_list() if shape.rank is not None else None) == expected
