"""Illnesses of a training: one file each, found by `services.diagnose`."""
