"""Keeps AutoGraph away from functions that need no conversion."""

from collections.abc import Callable
from typing import Any, TypeVar

from tensorflow.python.autograph.impl import api

Function = TypeVar("Function", bound=Callable[..., Any])


def not_converted(function: Function) -> Function:
    """Decorator: a `tf.function` traces `function`, and what it calls, as it is.

    To convert the lookup took 1.2 s of a first call. The public do_not_convert
    would put a wrapper around it, which eager calls had to go through too.
    """
    api.autograph_artifact(function)
    return function
