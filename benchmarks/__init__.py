"""Benchmarks: ratios measured in one run, never asserted. They need the extra ``bench``."""
