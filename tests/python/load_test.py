"""Loading: kernels are there after the import; failures say what is wrong."""

import pytest
import tensorflow as tf
import testing

import tf_embed
from tf_embed import _build_info, _loader


def test_stock_op_runs_after_import():
    output = tf.raw_ops.TPUEmbeddingActivations(
        embedding_variable=[[0.0]],
        sliced_activations=[[1.0, 2.0]],
        table_id=0,
        lookup_id=0,
    )
    assert output.numpy().tolist() == [[1.0, 2.0]]


def test_public_names_exist():
    for name in tf_embed.__all__:
        assert hasattr(tf_embed, name), name


def test_load_is_idempotent():
    assert tf_embed.load() == tf_embed.load()
    assert tf_embed.load().endswith(_loader.LIBRARY_NAME)


def test_library_loaded_before_is_not_loaded_again():
    # What TensorFlow does with a library in tensorflow-plugins/.
    result = testing.run_python(f"""
        import tensorflow as tf
        tf.load_op_library({tf_embed.load()!r})
        def fail(path): raise AssertionError("loaded twice")
        tf.load_op_library = fail
        import tf_embed
        print(tf_embed.__version__)
    """)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == tf_embed.__version__


def test_library_loaded_without_tensorflow_is_used():
    # What the library that the wheel puts into tensorflow-plugins/ does.
    result = testing.run_python(f"""
        import ctypes
        import tensorflow as tf
        library = ctypes.CDLL({tf_embed.load()!r})
        import tf_embed
        from tf_embed import info
        assert not tf_embed.stats().configured
        assert info.ops_without_kernel() == []
        tf_embed.set_recv_timeout(7)
        library.TfEmbed_RecvTimeoutSeconds.restype = ctypes.c_double
        print(library.TfEmbed_RecvTimeoutSeconds())
    """)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "7.0"


def test_other_tensorflow_names_both_versions():
    result = testing.run_python("""
        import tensorflow as tf
        tf.__version__ = "2.99.1"
        import tf_embed
    """)
    assert result.returncode != 0
    assert (
        f"ImportError: tf_embed was built for TensorFlow {_build_info.TF_VERSION},"
        " found 2.99.1."
    ) in result.stderr


def test_missing_tensorflow_names_the_one_it_wants():
    result = testing.run_python("""
        import sys
        sys.modules["tensorflow"] = None
        import tf_embed
    """)
    assert result.returncode != 0
    assert (
        f"ImportError: tf_embed was built for TensorFlow {_build_info.TF_VERSION},"
        " found none. Install tensorflow=="
    ) in result.stderr


def test_undefined_symbol_names_both_versions():
    result = testing.run_python("""
        import tensorflow as tf
        def load(path):
            raise tf.errors.NotFoundError(None, None, "undefined symbol: _Z3foov")
        tf.load_op_library = load
        import tf_embed
    """)
    assert "built for TensorFlow" in result.stderr
    assert "undefined symbol: _Z3foov" in result.stderr


def test_missing_library_is_named():
    result = testing.run_python("""
        import os
        exists = os.path.exists
        os.path.exists = lambda p: not str(p).endswith("libtf_embed.so") and exists(p)
        import tf_embed
    """)
    assert "ImportError: tf_embed is incomplete: there is no /" in result.stderr


def test_import_does_not_need_keras():
    result = testing.run_python("""
        import sys
        import tensorflow as tf
        import tf_embed
        print("tf_embed._stats_callback" in sys.modules)
    """)
    assert result.stdout.strip() == "False", result.stderr


def test_xla_is_imported_when_it_is_used():
    result = testing.run_python("""
        import sys
        import tf_embed
        print("tf_embed.xla" in sys.modules)
        print(tf_embed.xla.tpu_cost.__name__, "jax" in sys.modules)
    """)
    assert result.stdout.split() == ["False", "tpu_cost", "False"], result.stderr


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'tf_embed' has no attribute 'nonsense'"):
        tf_embed.nonsense  # noqa: B018
