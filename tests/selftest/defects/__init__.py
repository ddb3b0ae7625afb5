"""Planted defects: the reference service with one named behaviour broken, as a target for the harness."""

from .registry import DEFECTS, Defect

__all__ = ["DEFECTS", "Defect"]
