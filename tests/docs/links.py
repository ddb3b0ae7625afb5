"""Links of Markdown pages: where they lead, and which lead nowhere."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

from .pages import ROOT, slug

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
_NAMED = re.compile(r"<a\s+(?:id|name)=\"([^\"]+)\"")
_LINES = re.compile(r"L\d+(-L\d+)?")


@dataclass(frozen=True)
class Link:
    """One link of a page: its target as it is written, and the line of its block."""

    target: str
    line: int

    @property
    def outside(self) -> bool:
        """Tell whether it leads out of the repository."""
        return _SCHEME.match(self.target) is not None

    @property
    def path(self) -> str:
        """The file that it names; empty for the page itself."""
        return unquote(self.target.partition("#")[0])

    @property
    def anchor(self) -> str:
        """The place on the page; empty for its beginning."""
        return unquote(self.target.partition("#")[2])


def tracked_pages() -> Sequence[Path]:
    """Return every Markdown file of the repository, those that are new included."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    return sorted({ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()})


@cache
def _tokens(path: Path) -> Sequence[Token]:
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    return parser.parse(path.read_text(encoding="utf-8"))


def links_of(path: Path) -> Iterator[Link]:
    """Yield the links and images of a page, without those in code."""
    for token in _tokens(path):
        for child in token.children or ():
            target = child.attrGet("href") or child.attrGet("src")
            if target is not None:
                yield Link(str(target), (token.map or [0])[0] + 1)


@cache
def anchors_of(path: Path) -> frozenset[str]:
    """Return the anchors that GitHub gives a page's headings, and those that it gives itself."""
    found: list[str] = []
    seen: Counter[str] = Counter()
    tokens = _tokens(path)
    for token, following in itertools.pairwise(tokens):
        if token.type == "heading_open":
            text = "".join(child.content for child in following.children or () if child.type in ("text", "code_inline"))
            anchor = slug(text)
            found.append(f"{anchor}-{seen[anchor]}" if seen[anchor] else anchor)
            seen[anchor] += 1
    return frozenset((*found, *_NAMED.findall(path.read_text(encoding="utf-8"))))


def dead_links(path: Path) -> Iterator[str]:
    """Yield a sentence for each link within the repository that leads nowhere."""
    for link in links_of(path):
        if link.outside:
            continue
        where = f"{path.name}:{link.line}: {link.target}"
        target = (path.parent / link.path).resolve() if link.path else path
        if not target.exists() or not target.is_relative_to(ROOT):
            yield f"{where}: there is no such file"
        elif link.anchor and target.suffix == ".md" and link.anchor not in anchors_of(target):
            yield f"{where}: no heading has this anchor"
        elif link.anchor and target.suffix != ".md" and not _LINES.fullmatch(link.anchor):
            yield f"{where}: only a page has anchors"


def linked_pages(path: Path) -> set[Path]:
    """Return the pages of the repository that a page links to."""
    links = (link for link in links_of(path) if not link.outside and link.path)
    return {target for link in links if (target := (path.parent / link.path).resolve()).suffix == ".md"}
