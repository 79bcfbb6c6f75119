"""MLflow, DVC and git: where runs are logged, what they were made of, and the model registry."""
