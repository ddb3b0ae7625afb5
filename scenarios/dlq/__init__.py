"""Scenarios about the queue."""
