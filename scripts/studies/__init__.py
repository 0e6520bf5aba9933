"""The parts of the studies in scripts/ablate.py and compare.py: variants, data, runs, report."""
