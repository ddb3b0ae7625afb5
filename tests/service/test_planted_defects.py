"""The registry of planted defects."""

import pytest

import tests.selftest.defects.__main__ as planting
from tests.selftest.defects import DEFECTS
from tests.selftest.defects.registry import defect


def test_there_are_fourteen_defects_and_a_control_each_with_its_promise() -> None:
    assert len(DEFECTS) == 15
    assert DEFECTS["control"].promise == 0
    assert all(1 <= one.promise <= 9 for one in DEFECTS.values() if one.name != "control")
    assert all(one.description.endswith(".") for one in DEFECTS.values())


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ValueError, match="exists already"):
        defect("control", promise=0)(lambda: None)


def test_an_unknown_name_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert planting.main(["no-such-defect"]) == 2
    assert "drainer-off" in capsys.readouterr().err
