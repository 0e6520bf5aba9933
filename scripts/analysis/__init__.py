"""The commands of scripts/analyse.py, and what they compute: use of the memory, spread of the
affinity, correspondence of points."""
