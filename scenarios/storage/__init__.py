"""Scenarios about the storage below a month."""
