"""Scenarios about the service."""
