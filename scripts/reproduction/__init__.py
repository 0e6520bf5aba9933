"""The parts of scripts/reproduce.py: tables of the documentation as data, their runs, records."""
