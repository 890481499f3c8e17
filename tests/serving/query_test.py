"""python -m tf_embed.query: shows signatures, answers, and says what is wrong."""

import pytest
import tensorflow as tf

import tf_embed
from tf_embed import query

embedding = tf.tpu.experimental.embedding


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    table = embedding.TableConfig(
        4, 2, combiner="sum", initializer=embedding.RowIdInitializer(), name="t"
    )
    model = tf.Module()
    model.embedding = tf_embed.TPUEmbeddingForServing(
        embedding.FeatureConfig(table), None
    )
    model.embedding.build()

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int64, "ids"),
            tf.TensorSpec([None], tf.int64, "splits"),
        ]
    )
    def serve(ids, splits):
        ragged = tf.RaggedTensor.from_row_splits(ids, splits, validate=False)
        return {"activations": model.embedding(ragged)}

    path = str(tmp_path_factory.mktemp("model"))
    tf.saved_model.save(model, path, signatures=serve)
    return path


def test_without_inputs_it_shows_the_signature(model_dir, capsys):
    query.main([model_dir])
    text = capsys.readouterr().out
    assert "  ids: int64 [?]\n  splits: int64 [?]" in text
    assert "  activations: float32 [?, 2]" in text

    assert "  t: float32 [4, 2], 3.2e-05 MB\n" in text
    assert "lookups: TensorFlow's own ops" in text


@pytest.mark.parametrize("fused", [False, True])
def test_quantized_models(fused, tmp_path, capsys):
    table = embedding.TableConfig(
        4, 2, combiner="sum", initializer=embedding.RowIdInitializer(), name="t"
    )
    layer = tf_embed.TPUEmbeddingForServing(embedding.FeatureConfig(table), None)
    model = tf.Module()
    model.embedding = tf_embed.quantize(layer, "int8", fused_export=fused)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64, "ids")])
    def serve(ids):
        return {"activations": model.embedding(ids)}

    tf.saved_model.save(
        model,
        str(tmp_path),
        signatures=serve,
        options=tf.saved_model.SaveOptions(namespace_whitelist=["TfEmbed"]),
    )
    query.main([str(tmp_path)])
    text = capsys.readouterr().out
    assert "  t: uint8 [4, 10], 4e-05 MB\n" in text
    assert ("the fused op" if fused else "TensorFlow's own ops") in text
    query.main([str(tmp_path), "ids=[3, 1]"])
    assert "activations:\n[[3. 3.]\n [1. 1.]]\n" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"4 is not in \[0, "):
        query.main([str(tmp_path), "ids=[4]"])


def test_answers(model_dir, capsys):
    query.main([model_dir, "ids=[3, 1, 2]", "splits=[0, 2, 3]"])
    text = capsys.readouterr().out
    assert "activations:\n[[4. 4.]\n [2. 2.]]\n" in text
    assert "median of" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ids=[1]"], "missing input splits"),
        (["ids"], "'ids' is not NAME=VALUE"),
        (["where=[1]"], "no input 'where'; there are ids, splits"),
        (["ids=[one]", "splits=[0, 1]"], "is no JSON value of type int64"),
        (["ids=7", "splits=[0, 1]"], "the model refuses: "),
        (["ids=[7]", "splits=[0, 1]"], r"7 is not in \[0, 4\)"),
        (["--signature", "other"], "no signature 'other'; there are: serving_default"),
    ],
)
def test_says_what_is_wrong(model_dir, arguments, message):
    with pytest.raises(SystemExit, match=message):
        query.main([model_dir, *arguments])


def test_names_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(SystemExit, match=f"cannot load {tmp_path}"):
        query.main([str(tmp_path)])
