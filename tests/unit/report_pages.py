"""Reading what a page shows: its tables, cell by cell."""

from __future__ import annotations

import re
from html import unescape


def rows(text: str, caption: str) -> list[list[str]]:
    """The rows of the table with this caption, its titles first, each cell as plain text."""
    (table,) = [one for one in re.findall(r"<table.*?</table>", text, re.DOTALL) if f">{caption}</caption>" in one]
    return [
        [unescape(re.sub("<[^>]+>", "", cell)) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)]
        for row in re.findall(r"<tr.*?</tr>", table, re.DOTALL)
    ]
