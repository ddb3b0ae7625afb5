"""Planted defects: the reference service with one named behaviour broken, as a target for the harness.

A family a file; `planting.py` has the ways of breaking that several of them use.
"""

from . import (  # noqa: F401  (fill the registry)
    answering,
    breaking,
    draining,
    ending,
    making,
    measuring,
    poisoning,
    pooling,
    queueing,
    subtle,
    telling,
    writing,
)
from .registry import DEFECTS, Defect

__all__ = ["DEFECTS", "Defect"]
