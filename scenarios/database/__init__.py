"""Scenarios about the database."""
