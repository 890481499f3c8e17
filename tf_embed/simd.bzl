"""Compiler options of the files that use Highway."""

# Multiplications and additions fuse where the code says MulAdd and nowhere
# else: left to the compiler, the same formula would round differently in the
# main loop and in the tail, or with the next compiler.
SIMD_COPTS = ["-ffp-contract=off"]
