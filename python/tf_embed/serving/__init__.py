"""TensorFlow's TPU embedding classes on a fused CPU kernel."""
