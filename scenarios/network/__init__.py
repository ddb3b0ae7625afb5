"""Scenarios about the network."""
