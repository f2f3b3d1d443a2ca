"""Measurements against named peers, in one run, equal math checked first. `python3 run.py bench`."""
