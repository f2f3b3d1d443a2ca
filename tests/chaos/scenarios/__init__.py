"""Scenarios, one file each; see `tests.chaos`."""
