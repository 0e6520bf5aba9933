"""The parts of studies (scripts/ablate.py, compare.py): variants, the data they run on, their runs, what is said of them."""
