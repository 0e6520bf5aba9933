"""The parts of scripts/analyse.py: its commands (how memory is used, how affinity is spread, where points go), each beside what it computes."""
