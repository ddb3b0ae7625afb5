"""Pages of a relation on disk: save them, damage them, tell the damaged ones, put them back, evict the buffers.

The damage is the page header and nothing else: bounds that cannot be, so that PostgreSQL refuses the page with data
checksums on or off, and a pattern by which heal knows a page that it still has to repair from one that somebody
has written since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from psycopg import AsyncConnection

from .._wait import wait_until
from ..errors import FaultError
from ..fault import Scene
from ..stacks.base import Files

PAGE_BYTES = 8192
HEADER_BYTES = 24
SEGMENT_PAGES = 131_072
"""Pages in one file of 1 GiB, PostgreSQL's default segment size."""

DAMAGE = b"\xde\xad\xbe\xef" * (HEADER_BYTES // 4)


@dataclass(frozen=True)
class Relation:
    """One heap or index and where its first file lies, relative to the data directory."""

    oid: int
    schema: str
    name: str
    path: str

    def to_json(self) -> list[str | int]:
        """Return it for the ledger."""
        return [self.oid, self.schema, self.name, self.path]


async def relation_of(connection: AsyncConnection, oid: int) -> Relation:
    """Look a relation up by oid; raises :class:`FaultError` when it has no file."""
    cursor = await connection.execute(
        "SELECT c.oid, n.nspname, c.relname, pg_relation_filepath(c.oid) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s",
        (oid,),
    )
    row = await cursor.fetchone()
    if row is None or row[3] is None:
        raise FaultError(f"Relation {oid} has no file on disk, so its pages cannot be damaged.")
    return Relation(*row)


def segments(files: Files, relation: Relation) -> list[str]:
    """Return the relation's files that are there: the first one, and those of further gigabytes."""
    found: list[str] = []
    while files.exists(path := _segment(relation, len(found))):
        found.append(path)
    return found


def count_pages(files: Files, relation: Relation) -> int:
    """Count the pages on disk, over all segments."""
    return sum(files.size(path) // PAGE_BYTES for path in segments(files, relation))


def read_pages(files: Files, relation: Relation, blocks: Sequence[int]) -> bytes:
    """Return the bytes of ``blocks``, one page after the other."""
    return b"".join(_read(files, relation, blocks))


def damage_pages(files: Files, relation: Relation, blocks: Sequence[int]) -> None:
    """Overwrite the headers of ``blocks``."""
    _patch(files, relation, dict.fromkeys(blocks, DAMAGE))


def write_pages(files: Files, relation: Relation, blocks: Sequence[int], pages: bytes) -> None:
    """Overwrite ``blocks`` with ``pages``, one after the other."""
    _patch(files, relation, {block: _page(pages, index) for index, block in enumerate(blocks)})


def restore_pages(
    files: Files, relation: Relation, blocks: Sequence[int], saved: bytes, damaged: bytes | None = None
) -> list[int]:
    """Write the saved bytes over those of ``blocks`` that are still damaged, and return which those were.

    A page without the damage (the header of :func:`damage_pages`, or the whole pages given as ``damaged``) was never
    damaged, or was written since: its saved bytes would be stale.
    """
    due: dict[int, bytes] = {}
    for index, (block, page) in enumerate(zip(blocks, _read(files, relation, blocks), strict=True)):
        if page.startswith(DAMAGE if damaged is None else _page(damaged, index)):
            due[block] = _page(saved, index)
    _patch(files, relation, due)
    return list(due)


async def evict(scene: Scene, connection: AsyncConnection, relation: Relation) -> None:
    """Write the relation's dirty buffers out and drop all of them, under the caller's lock.

    A page that the checkpointer has pinned at that moment is skipped, so it is asked until none is left.
    """
    if scene.environment.database.version_num >= 180000:
        left = "SELECT buffers_skipped FROM pg_buffercache_evict_relation(%s::oid::regclass)"
    else:
        left = (
            "SELECT count(*) FILTER (WHERE NOT gone) FROM (SELECT pg_buffercache_evict(bufferid) AS gone"
            " FROM pg_buffercache WHERE relfilenode = pg_relation_filenode(%s::oid::regclass) AND reldatabase ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())) AS tried"
        )

    async def none_left() -> bool:
        row = await (await connection.execute(left, (relation.oid,))).fetchone()
        return row is not None and row[0] == 0

    await wait_until(none_left, what=f"the buffers of {relation.name} to be evicted", deadline_seconds=5.0)


async def close_descriptors(connection: AsyncConnection, relation: Relation) -> None:
    """Have every backend close its descriptors of the relation, once the caller's transaction commits.

    An update of its catalog row that changes nothing is an invalidation; a backend that meets one before it gets its
    lock forgets the relation, descriptors included.
    """
    await connection.execute("UPDATE pg_class SET relname = relname WHERE oid = %s", (relation.oid,))


def _segment(relation: Relation, number: int) -> str:
    return f"{relation.path}.{number}" if number else relation.path


def _offset(block: int) -> int:
    return block % SEGMENT_PAGES * PAGE_BYTES


def _page(pages: bytes, index: int) -> bytes:
    return pages[index * PAGE_BYTES : (index + 1) * PAGE_BYTES]


def _runs(blocks: Sequence[int]) -> list[list[int]]:
    """Split ``blocks`` into such as lie one after the other in one file, to be read at once."""
    keyed = groupby(enumerate(blocks), key=lambda item: (item[1] - item[0], item[1] // SEGMENT_PAGES))
    return [[block for _, block in run] for _, run in keyed]


def _read(files: Files, relation: Relation, blocks: Sequence[int]) -> list[bytes]:
    """Return the page of each block; one that its file no longer has is short or empty."""
    pages: list[bytes] = []
    for run in _runs(blocks):
        content = files.read(_segment(relation, run[0] // SEGMENT_PAGES), _offset(run[0]), len(run) * PAGE_BYTES)
        pages += [_page(content, index) for index in range(len(run))]
    return pages


def _patch(files: Files, relation: Relation, content: Mapping[int, bytes]) -> None:
    """Overwrite the beginnings of pages, file by file."""
    for number in sorted({block // SEGMENT_PAGES for block in content}):
        pieces = [(_offset(block), new) for block, new in content.items() if block // SEGMENT_PAGES == number]
        files.patch(_segment(relation, number), pieces)
