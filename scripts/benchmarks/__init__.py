"""The commands of scripts/benchmark.py, and what they share: synthetic material, timers and the
reference implementation that speed is compared with."""
