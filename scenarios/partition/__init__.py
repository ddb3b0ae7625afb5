"""Scenarios about the partition."""
