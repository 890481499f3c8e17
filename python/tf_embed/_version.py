"""Version of tf_embed."""

__version__ = "0.1.0"
