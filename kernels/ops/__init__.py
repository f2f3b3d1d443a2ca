"""One file per member; the folder is the registry (kernels.registry)."""
