"""The search for hyperparameters, and DVC experiments that are started from Python."""
