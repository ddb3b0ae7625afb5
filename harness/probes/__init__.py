"""Probes measure one thing each and never judge."""
