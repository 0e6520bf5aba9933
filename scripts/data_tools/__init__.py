"""The parts of the scripts that check, resize and extend data sets."""
