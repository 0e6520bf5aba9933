"""The parts of scripts/benchmark.py: its commands, each beside what it measures; made-up material, the reference side, the report."""
