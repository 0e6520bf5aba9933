"""What analyse.py runs: how memory is used, how affinity is spread, where points go."""
