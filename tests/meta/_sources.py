"""Every Python source of the project, parsed once for the tests about style, and not while tests are collected."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Source:
    """One file: its dotted module name, its text and its tree."""

    path: Path
    module: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    def imports(self) -> Iterator[str]:
        """Absolute names of everything imported, also inside functions; ``from a import b`` gives ``a.b``."""
        own = self.module.split(".")
        base = own if self.path.name == "__init__.py" else own[:-1]
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                prefix = base[: len(base) - node.level + 1] if node.level else []
                stem = ".".join([*prefix, *([node.module] if node.module else [])])
                yield from (f"{stem}.{alias.name}" for alias in node.names)


def sources(*packages: str) -> tuple[Source, ...]:
    return tuple(source for package in packages for source in _sources_of(package))


@cache
def _sources_of(package: str) -> tuple[Source, ...]:
    found = []
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(Source(path, module, path.read_text(encoding="utf-8")))
    return tuple(found)
