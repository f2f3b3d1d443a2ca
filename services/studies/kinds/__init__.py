"""One file for each kind of study; whatever lies here may be posted."""
