"""The browser that the tests of a module look with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench._browser import Browser
from tests.browser.looking import a_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for all pages."""
    with a_browser(tmp_path_factory.mktemp("browser")) as started:
        yield started
