"""``python -m tests.docs``: make all generated pages of the documentation, and the published JSON Schema, anew."""

from __future__ import annotations

from .pages import write

if __name__ == "__main__":
    write(print)
