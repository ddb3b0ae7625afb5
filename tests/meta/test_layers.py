"""Imports go only downward (ARCHITECTURE.md, "Layers")."""

from __future__ import annotations

import pytest

from ._sources import Source, sources

LAYERS = (
    (
        "values",
        "blast",
        "events",
        "errors",
        "registry",
        "redaction",
        "vocabulary",
        "targets",
        "noise",
        "tables",
        "_wait",
    ),
    (
        [
            "fault",
            "scenario",
            "schedule",
            "checking",
            "ledger",
            "history",
            "jsonlines",
            "results",
            "gate",
            "operations",
            "oracle",
            "rundata",
            "repairs",
            "workload",
            "stacks.base",
        ]
    ),
    ("stacks", "faults", "probes", "load", "lint", "checkers"),
    (
        "runner",
        "conductor",
        "steadystate",
        "samplers",
        "finalread",
        "nemesis",
        "judging",
        "columnar",
        "guard",
        "healing",
        "turns",
        "player",
        "timed",
    ),
    ("report",),
    (
        "cli",
        "__main__",
        "pytest_plugin",
        "stepping",
        "session",
        "suite",
        "judges",
        "discovery",
        "concealing",
        "display",
        "doctor",
        "ending",
        "explaining",
        "linting",
        "outputs",
        "schemas",
        "undoing",
        "dryrun",
        "faultfacts",
        "gating",
        "selftest",
        "compare",
        "assess",
        "sweep",
        "lab",
    ),
)
LOCUST_PROCESS = "harness.load.locustfile"
IO_MODULES = {"asyncio", "psycopg", "httpx", "aiohttp", "socket", "subprocess", "os", "pathlib", "sqlite3", "requests"}


def layer_of(module: str) -> int:
    """The highest-numbered layer whose prefix names the module, the longest prefix winning."""
    inside = module.removeprefix("harness").removeprefix(".")
    best, found = "", -1
    for number, names in enumerate(LAYERS):
        for name in names:
            if (inside == name or inside.startswith(name + ".")) and len(name) > len(best):
                best, found = name, number
    return found


def harness_sources() -> list[Source]:
    return [source for source in sources("harness") if source.module != "harness"]


@pytest.mark.parametrize("source", harness_sources(), ids=lambda source: source.module)
def test_a_module_of_the_harness_has_a_layer_and_imports_only_downward(source: Source) -> None:
    own = layer_of(source.module)
    assert own >= 0, f"{source.module} is in no layer; add it to LAYERS and to ARCHITECTURE.md"
    for name in source.imports():
        if name.startswith("harness."):
            theirs = layer_of(name)
            assert theirs <= own, f"{source.module} (layer {own}) imports {name} (layer {theirs})"


@pytest.mark.parametrize("source", sources("harness"), ids=lambda source: source.module)
def test_the_harness_knows_no_service_no_scenario_and_no_test(source: Source) -> None:
    assert not [name for name in source.imports() if name.split(".")[0] in ("service", "scenarios", "tests")]


@pytest.mark.parametrize("source", sources("service"), ids=lambda source: source.module)
def test_the_service_imports_nothing_of_the_harness_and_itself_only_relatively(source: Source) -> None:
    assert not [name for name in source.imports() if name.split(".")[0] in ("harness", "scenarios", "tests")]
    assert "from service" not in source.text
    assert "import service" not in source.text


@pytest.mark.parametrize("source", sources("scenarios"), ids=lambda source: source.module)
def test_scenarios_import_each_other_only_relatively(source: Source) -> None:
    assert "from scenarios" not in source.text
    assert "import scenarios" not in source.text


@pytest.mark.parametrize("source", sources("harness/checkers", "harness/lint"), ids=lambda source: source.module)
def test_checkers_import_no_io(source: Source) -> None:
    assert not [name for name in source.imports() if name.split(".")[0] in IO_MODULES]


@pytest.mark.parametrize("source", sources("harness"), ids=lambda source: source.module)
def test_drivers_stay_behind_the_modules_that_wrap_them(source: Source) -> None:
    tops = {name.split(".")[0] for name in source.imports()}
    if "toxiproxy" in tops:
        assert source.module == "harness.stacks.toxiproxy_client"
    if "psycopg" in tops:
        assert source.module.split(".")[1] in ("probes", "faults", "stacks")
    if "locust" in tops:
        assert source.module == LOCUST_PROCESS
