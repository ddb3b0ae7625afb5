"""``assess.toml`` and the features that it speaks of."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import harness.checkers  # noqa: F401  (fills the registry)
from harness.assess.features import FEATURES
from harness.assess.inputs import load_inputs
from harness.checking import CHECKERS
from harness.errors import UsageError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("units = 1\n", "unknown key units"),
        ("[features.speed]\ncost = 1\n", "[features]: unknown key speed"),
        ("[features.recovery]\nrevenue = 1\n", "[features.recovery]: unknown key revenue"),
        ("[features.recovery]\nimpact = -1\n", "[features.recovery]: impact must be a number from 0, not -1"),
        ("[features.recovery]\nimpact = true\n", "must be a number from 0, not True"),
        ("[features.recovery]\ncost = 0\n", "[features.recovery]: cost is 0"),
        ("[recovery]\nmanual_minutes = 15\n", "must be two numbers"),
        ("[recovery]\nmanual_minutes = [35, 15]\n", "= [35, 15] falls"),
        ('[recovery]\nmanual_minutes = [15, "35"]\n', "the second of manual_minutes must be a number from 0, not '35'"),
        ("[recovery]\nsource = 1\n", "[recovery]: source must be a text"),
        ("features = 1\n", "[features] must be a table"),
        ("unit = \n", "is not valid TOML"),
    ],
)
def test_a_mistake_in_the_inputs_is_said_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "assess.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_inputs(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_beside_the_user_is_read_and_none_is_no_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_inputs(None).path is None
    (tmp_path / "assess.toml").write_text("[recovery]\nmanual_minutes = [15, 35]\n")
    assert load_inputs(None).manual_minutes == (15.0, 35.0)
    with pytest.raises(UsageError, match="cannot be read"):
        load_inputs(tmp_path / "other.toml")


def test_the_sample_of_the_how_to_is_a_whole_file(tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/assess.md").read_text(encoding="utf-8")
    (sample,) = re.findall(r"```toml\n(# assess\.toml.*?)```", page, re.DOTALL)
    path = tmp_path / "assess.toml"
    path.write_text(sample)
    given = load_inputs(path)
    assert set(given.features) == {one.name for one in FEATURES}
    assert all(given.of(one.name).score for one in FEATURES)
    assert given.manual_minutes == (15.0, 35.0)
    assert set(tomllib.loads(sample)) == {"unit", "recovery", "features"}


def test_every_feature_asks_for_requirements_and_checkers_that_exist() -> None:
    page = (ROOT / "docs/reference/requirements.md").read_text(encoding="utf-8")
    for feature in FEATURES:
        assert all(f"| {one} |" in page for one in feature.requirements)
        assert all(checker in set(CHECKERS) for checker in feature.checkers)
