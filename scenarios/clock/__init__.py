"""Scenarios about the clock."""
