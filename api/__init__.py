"""HTTP, the page and the command line: everything that users touch. It imports services and rings doorbells."""
