"""The parts of scripts/check_gpu.py: its sections, and the report."""
