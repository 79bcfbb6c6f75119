"""Rebuild a recorded model, compare two models, and attribute a change of a metric."""
