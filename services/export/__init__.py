"""Models as files: one module per format."""
