"""Promotion of versions to production, and its history."""
