"""The parts of scripts/benchmark.py: made-up material, the reference side, measurements, the report."""
