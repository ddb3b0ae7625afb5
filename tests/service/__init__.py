"""Tests of the reference service's own parts."""
