"""Loads an exported model as a server without tf_embed's package, and asks it.

usage: export_process.py FOLDER INPUTS.npz OUTPUTS.npz [PLUGIN.so]
"""

import sys

import numpy as np
import tensorflow as tf


def main():
    folder, inputs, outputs, *plugins = sys.argv[1:]
    for plugin in plugins:
        tf.load_op_library(plugin)
    signature = tf.saved_model.load(folder).signatures["serving_default"]
    with np.load(inputs) as arrays:
        results = signature(**{name: tf.constant(arrays[name]) for name in arrays})
    assert "tf_embed" not in sys.modules
    np.savez(outputs, **{name: value.numpy() for name, value in results.items()})


main()
