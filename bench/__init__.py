"""Benchmarks: one folder a scenario, each number in the docs comes from one of them."""
