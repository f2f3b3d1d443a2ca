"""The numeric core: operators, losses and optimizers as data, one file each, for CPU and CUDA alike."""
