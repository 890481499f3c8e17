"""What the systems on TensorFlow share."""

import pathlib

import tensorflow as tf


def set_threads(threads):
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def check_stock():
    """Raises unless TensorFlow is as it comes."""
    if "libtf_embed" in pathlib.Path("/proc/self/maps").read_text():
        raise RuntimeError("tf_embed is loaded into a process for stock TensorFlow")
