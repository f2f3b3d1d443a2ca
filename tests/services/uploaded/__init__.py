"""Uploaded data sets: every kind by hand, by peers, and under fire."""
