#!/usr/bin/env python3
"""Asks the exported model: python flights_ask.py MODEL FLIGHTS.json.

Prints the answers as JSON. This process knows TensorFlow only.
"""

from __future__ import annotations

import json
import pathlib
import sys


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    import tensorflow as tf

    columns = json.loads(pathlib.Path(sys.argv[2]).read_text())
    model = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
    answer = model(**{name: tf.constant(values) for name, values in columns.items()})
    print(json.dumps(answer["late"].numpy().tolist()))


if __name__ == "__main__":
    main()
