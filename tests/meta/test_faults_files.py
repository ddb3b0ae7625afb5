"""Faults reach the files of PostgreSQL only through ``Files`` of harness/stacks/base.py, wherever PostgreSQL runs."""

from __future__ import annotations

import ast

import pytest

from ._sources import Source, sources

LOCAL = {"os", "pathlib", "shutil", "io", "tempfile", "subprocess", "fcntl", "mmap", "sqlite3", "glob"}
"""Modules of the standard library by which a file of this host can be opened, named or handed to a program."""

JUSTIFIED = {
    "_dlq_file": "the queue's SQLite file is locked and opened as SQLite does, and by descriptors of the service",
    "_dlq_locker": "a process of its own that holds SQLite's lock on the queue",
    "dlq": "starts that process, and notes the queue's files by path",
    "_holder": "knows its connections by the path of a ledger",
    "_service": "asks /proc about the service's process, and signals it",
    "_signals": "asks /proc about PostgreSQL's processes, and signals them",
    "clock": "writes the file by which libfaketime sets the service's clock",
    "flapping": "knows its tasks by the path of a ledger",
    "sessions": "knows its connections by the path of a ledger",
    "toxics": "duplicates the descriptor of a socket",
}
"""Why a module of faults imports any of those, although it has nothing to do with the files of PostgreSQL."""

FAULTS = sources("harness/faults")


def imports_local(source: Source) -> set[str]:
    return {name.split(".")[0] for name in source.imports()} & LOCAL


def opens(source: Source) -> bool:
    calls = (node.func for node in ast.walk(source.tree) if isinstance(node, ast.Call))
    return any(isinstance(called, ast.Name) and called.id in ("open", "__import__", "exec", "eval") for called in calls)


@pytest.mark.parametrize("source", FAULTS, ids=lambda source: source.module)
def test_a_fault_opens_no_local_file_without_a_reason(source: Source) -> None:
    name = source.path.stem
    if name not in JUSTIFIED:
        assert not imports_local(source), f"{source.module}: use scene.environment.database.files, or give a reason"
    assert not opens(source)


@pytest.mark.parametrize("source", FAULTS, ids=lambda source: source.module)
def test_no_fault_knows_where_the_data_directory_is(source: Source) -> None:
    assert "data_dir" not in source.text
    assert "local_files" not in {part for name in source.imports() for part in name.split(".")}


@pytest.mark.parametrize("name", JUSTIFIED)
def test_a_module_with_a_reason_still_needs_it_and_touches_no_file_of_the_database(name: str) -> None:
    found = [source for source in FAULTS if source.path.stem == name]
    assert found, f"harness/faults/{name}.py is gone; so is its reason"
    assert imports_local(found[0]), f"{name} needs no reason any more"
    assert "database.files" not in found[0].text
