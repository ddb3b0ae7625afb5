"""``python -m harness``."""

from .cli import main

main()
