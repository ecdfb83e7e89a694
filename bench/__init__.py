"""Benchmarks and the detection score card."""
