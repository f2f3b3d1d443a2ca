"""The agents, one a file, found by name."""
