"""The domain: jobs, plans, training, data sets. Synchronous, knows no HTTP, imports only `kernels`."""
