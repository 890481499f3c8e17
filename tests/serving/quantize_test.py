"""tf_embed.quantize: size, error, lookups as with the decoded tables, refusals."""

import re

import comparison
import numpy as np
import pytest
import random_calls
import tensorflow as tf

import tf_embed
from tf_embed.serving._low_precision import LowPrecisionTable

embedding = tf.tpu.experimental.embedding

FORMATS = ("bfloat16", "float16", "int8", "int4")
_CODES = {"int8": 255, "int4": 15}


def _layer(*shapes, names=("video", "watch", "zone")):
    """An object with one feature a table, filled with normal numbers."""
    rng = np.random.default_rng(len(shapes) + sum(map(sum, shapes)))
    features = {}
    for (rows, dim), name in zip(shapes, names, strict=False):
        features[name] = embedding.FeatureConfig(
            embedding.TableConfig(rows, dim, combiner="sum", name=name)
        )
    layer = tf_embed.TPUEmbeddingForServing(features, None)
    for variable in layer.embedding_tables.values():
        variable.assign(rng.standard_normal(variable.shape, np.float32))
    return layer


def _only_table(layer):
    return next(iter(layer.embedding_tables.values()))


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("dim", [1, 2, 3, 8, 17, 64])
def test_no_number_is_off_by_more_than_half_a_step(dtype, dim):
    layer = _layer((300, dim))
    before = _only_table(layer).numpy().astype(np.float64)
    # Rows of one value, of large and of tiny numbers.
    before[0], before[1], before[2] = 0.7, before[1] * 1e4, before[2] * 1e-4
    _only_table(layer).assign(before)
    before = _only_table(layer).numpy().astype(np.float64)
    small = tf_embed.quantize(layer, dtype)
    after = _only_table(small).dequantize().numpy()
    if dtype in _CODES:
        step = (before.max(1) - before.min(1)) / _CODES[dtype]
        # Step, difference, product and sum are each rounded to float32.
        rounding = 4 * np.finfo(np.float32).eps * np.abs(before).max(1)
        bound = (step / 2 + rounding)[:, None]
    else:
        bits = {"bfloat16": 8, "float16": 11}[dtype]
        bound = np.abs(before) * 2.0**-bits + 2.0**-25  # subnormal in float16
    error = np.abs(after - before)
    assert (error <= bound).all(), (error / bound).max()
    (report,) = small.report.tables
    assert report.max_error == pytest.approx(error.max(), rel=1e-6)
    assert report.rms_error == pytest.approx(np.sqrt((error**2).mean()), rel=1e-6)
    assert report.rms_value == pytest.approx(np.sqrt((before**2).mean()), rel=1e-6)


def test_large_tables_are_stored_piece_by_piece():
    # 48 MB: more than one piece.
    layer = _layer((12_000, 1024))
    small = tf_embed.quantize(layer, "int8")
    before = _only_table(layer).numpy()
    error = np.abs(_only_table(small).dequantize().numpy() - before).max(1)
    step = (before.max(1) - before.min(1)) / 255
    assert (error <= step * 0.5001).all()


def test_tables_are_read_piece_by_piece(monkeypatch):
    layer = _layer((10, 4))

    def read(*_):
        raise AssertionError("the whole table was read")

    monkeypatch.setattr(_only_table(layer), "_read_variable_op", read)
    tf_embed.quantize(layer, "int8")


def test_types_may_be_tensorflows():
    small = tf_embed.quantize(_layer((4, 8)), tf.int8)
    assert small.report.tables[0].dtype == "int8"
    small = tf_embed.quantize(_layer((4, 8)), {"video": tf.bfloat16})
    assert small.report.tables[0].dtype == "bfloat16"


@pytest.mark.parametrize("seed", range(2000, 2060))
def test_lookup_equals_stock_on_the_decoded_tables(seed):
    comparison.check_quantized(
        random_calls.random_call(seed), FORMATS[seed % 4], traced=seed % 7 == 0
    )


@pytest.mark.parametrize("dtype", FORMATS)
def test_one_id_is_the_decoded_row_bit_for_bit(dtype):
    small = tf_embed.quantize(_layer((50, 37)), dtype)
    ids = {"video": tf.range(50)}
    np.testing.assert_array_equal(small(ids)["video"], _only_table(small).dequantize())


def test_numbers_between_the_codes():
    layer = _layer((2, 4))
    _only_table(layer).assign([[0, 255, 100.4, 100.6], [-1, 14, 0.4, 13.7]])
    small = tf_embed.quantize(layer, "int8")
    rows = small({"video": tf.constant([0, 1])})["video"].numpy()
    assert rows[0].tolist() == [0, 255, 100, 101]
    small = tf_embed.quantize(layer, "int4")
    rows = small({"video": tf.constant([1])})["video"].numpy()
    assert rows[0].tolist() == [-1, 14, 0, 14]
    assert small.report.tables[0].max_error == pytest.approx(1.6, abs=1e-4)


def test_each_table_as_told_and_the_others_as_they_are():
    layer = _layer((40, 16), (30, 5), (20, 3))
    small = tf_embed.quantize(layer, {"video": "int4", "watch": "float16"})
    assert [t.dtype for t in small.report.tables] == ["int4", "float16", "float32"]
    tables = {c.name: t for c, t in small.embedding_tables.items()}
    assert tables["video"].variable.shape == [40, 16]  # 8 bytes of codes
    assert tables["video"].variable.dtype == tf.uint8
    assert tables["watch"].variable.dtype == tf.float16
    assert isinstance(tables["zone"], tf.Variable)
    ids = {name: tf.constant([3, 1]) for name in tables}
    outputs = small(ids)
    np.testing.assert_array_equal(outputs["zone"], layer(ids)["zone"])
    # A copy: training goes on without it.
    for variable in layer.embedding_tables.values():
        variable.assign_add(tf.ones_like(variable))
    np.testing.assert_array_equal(small(ids)["zone"], outputs["zone"])


def test_report_prints_sizes_and_errors():
    small = tf_embed.quantize(_layer((1000, 64), (10, 4)), {"video": "int8"})
    video, watch = small.report.tables
    assert (video.bytes_before, video.bytes_after) == (256_000, 72_000)
    assert video.ratio == pytest.approx(256 / 72)
    assert (watch.bytes_before, watch.bytes_after, watch.max_error) == (160, 160, 0)
    assert small.report.bytes_after == 72_160
    lines = str(small.report).split("\n")
    assert lines[0].split("  ")[0] == "table"
    assert re.split("  +", lines[1])[:6] == [
        *("video", "int8", "[1000, 64]", "256 kB", "72 kB", "3.56x")
    ]
    assert re.split("  +", lines[2]) == [
        *("watch", "float32", "[10, 4]", "160 B", "160 B", "1.00x", "0", "0"),
        f"{watch.rms_value:.3g}",
    ]
    assert lines[3].split() == ["all", "256.2", "kB", "72.16", "kB", "3.55x"]
    assert repr(small) == (
        "<QuantizedEmbedding video: int8 [1000, 64], watch: float32 [10, 4];"
        " 72.16 kB, was 256.2 kB>"
    )


def test_stock_objects_are_taken_too():
    stock = comparison.STOCK(
        embedding.FeatureConfig(embedding.TableConfig(5, 8, name="t")), None
    )
    small = tf_embed.quantize(stock)
    error = np.abs(small(tf.range(5)) - stock(tf.range(5)))
    assert 0 < error.max() <= small.report.tables[0].max_error * 1.0001


def test_checkpoints_keep_what_is_stored(tmp_path):
    small = tf_embed.quantize(_layer((9, 6)))
    path = tf.train.Checkpoint(model=small).save(str(tmp_path / "ckpt"))
    other = tf_embed.quantize(_layer((9, 6)))
    table = _only_table(other).variable
    table.assign(tf.zeros_like(table))
    tf.train.Checkpoint(model=other).restore(path).assert_consumed()
    np.testing.assert_array_equal(table, _only_table(small).variable)


def _broken(value):
    layer = _layer((6, 4))
    table = _only_table(layer).numpy()
    table[5, 0], table[5, 2] = abs(value), value
    _only_table(layer).assign(table)
    return layer


@pytest.mark.parametrize(
    ("make", "dtype", "error", "message"),
    [
        (lambda: "x", "int8", TypeError, "takes a TPUEmbeddingForServing, not a str"),
        (
            lambda: _layer((2, 2)),
            "int3",
            ValueError,
            "Tables cannot be stored as 'int3'; there are float32, bfloat16,",
        ),
        (
            lambda: _layer((2, 2)),
            {"video": "uint8"},
            ValueError,
            "Table 'video' cannot be stored as 'uint8'",
        ),
        (
            lambda: _layer((2, 2), (3, 3)),
            {"vidoe": "int8"},
            ValueError,
            "There is no table 'vidoe'; there are video, watch",
        ),
        (
            lambda: _broken(np.nan),
            "int8",
            ValueError,
            "Table 'video', row 5: nan cannot be stored as int8",
        ),
        (
            lambda: _broken(-np.inf),
            "bfloat16",
            ValueError,
            "Table 'video', row 5: inf cannot be stored as bfloat16",
        ),
        (
            lambda: _broken(70_000),
            "float16",
            ValueError,
            "Table 'video', row 5: 70000 cannot be stored as float16, whose largest"
            " number is 65504",
        ),
        (
            lambda: _broken(-3e38),
            "int4",
            ValueError,
            "Table 'video', row 5: the numbers from -3e.38 to 3e.38 are too far apart",
        ),
    ],
)
def test_says_what_cannot_be_quantized(make, dtype, error, message):
    with pytest.raises(error, match=message):
        tf_embed.quantize(make(), dtype)


def test_is_refused_in_a_function():
    layer = _layer((2, 2))

    @tf.function(autograph=False)
    def program():
        tf_embed.quantize(layer)

    with pytest.raises(RuntimeError, match=r"call it outside of tf\.function"):
        program()


def test_gradients_are_refused():
    small = tf_embed.quantize(_layer((3, 2)))
    ids = tf.ragged.constant([[0, 1], [2]])
    weights = tf.ones_like(ids, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(weights.values)
        output = small({"video": ids}, {"video": weights})["video"]
    with pytest.raises(NotImplementedError, match="quantized tables have no gradient"):
        tape.gradient(output, weights.values)


def test_bad_ids_are_refused_as_in_float32():
    small = tf_embed.quantize(_layer((3, 2)))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"3 is not in \[0, 3\)"):
        small({"video": tf.constant([3])})


@pytest.mark.parametrize("ids_type", [tf.int32, tf.int64])
@pytest.mark.parametrize("dtype", FORMATS)
def test_in_dataset_map(dtype, ids_type):
    small = tf_embed.quantize(_layer((20, 7)), dtype)
    rows = tf.ragged.constant([[3, 19], [], [0], [7, 7, 1]], dtype=ids_type)
    dataset = tf.data.Dataset.from_tensor_slices({"video": rows}).batch(2)
    found = [batch["video"] for batch in dataset.map(small, num_parallel_calls=2)]
    np.testing.assert_array_equal(
        tf.concat(found, axis=0), small({"video": rows})["video"]
    )


@pytest.mark.parametrize("dtype", FORMATS)
def test_compiled(dtype):
    small = tf_embed.quantize(_layer((20, 7)), dtype)
    ids = tf.constant([3, 19, 0])
    compiled = tf.function(lambda: small({"video": ids})["video"], jit_compile=True)
    np.testing.assert_allclose(
        compiled(), small({"video": ids})["video"], rtol=1e-6, atol=1e-6
    )


def test_decoded_tables_are_told_apart():
    small = tf_embed.quantize(_layer((3, 2)))
    table = _only_table(small)
    assert isinstance(table, LowPrecisionTable)
    assert (table.dtype, table.shape.as_list()) == ("int8", [3, 2])
