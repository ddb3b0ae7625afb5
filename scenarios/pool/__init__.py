"""Scenarios about the pool."""
