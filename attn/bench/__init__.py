"""Benchmarks against other libraries: interleaved in one run, compared by ratio."""
