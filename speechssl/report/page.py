"""Write the sections: one HTML page that needs nothing else, and RESULTS.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from speechssl.report.tables import Better, Column, Section, Table

ARROWS: dict[Better, str] = {"more": " \u2191", "less": " \u2193", "": ""}

_OUTER_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
"""An underscore that is not between two letters or digits: only there it has a meaning in Markdown."""


class Missing(NamedTuple):
    """What the page lacks."""

    folder: str
    """Where it was looked for."""
    lines: Sequence[str]
    """A line for each part."""


def render_page(title: str, lead: Sequence[str], sections: Sequence[Section], missing: Missing) -> str:
    """Return the HTML page: styles and pictures inside, no scripts, every text escaped.

    A content security policy in the page forbids scripts and the network, should a text ever get through.
    """
    environment = Environment(
        loader=PackageLoader("speechssl.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html")
    return template.render(title=title, lead=lead, sections=sections, missing=missing) + "\n"


def render_markdown(title: str, lead: Sequence[str], sections: Sequence[Section], missing: Missing) -> str:
    """Return the tables of the sections as Markdown, best values in bold."""
    lines = [f"# {plain(title)}", ""]
    for line in lead:
        lines += [plain(line), ""]
    if missing.lines:
        lines += [f"Not found in {plain(missing.folder)}:", "", *(f"- {plain(line)}" for line in missing.lines), ""]
    for section in sections:
        tables = section.tables + section.detail_tables
        if not tables:
            continue
        lines += [f"## {plain(section.title)}", ""]
        if section.intro:
            lines += [plain(section.intro), ""]
        for table in tables:
            lines += _markdown_table(table)
    return "\n".join(lines)


def plain(text: str) -> str:
    """Return `text` in one line in which Markdown and HTML have no meaning."""
    text = escape(" ".join(text.split()), quote=False)
    for character in "\\`*~[]|":
        text = text.replace(character, "\\" + character)
    return _OUTER_UNDERSCORE.sub(r"\\_", text)


def _markdown_table(table: Table) -> list[str]:
    heads = [plain(table.corner), *(_markdown_head(column) for column in table.columns)]
    rules = [":--", *("--:" if column.number else ":--" for column in table.columns)]
    lines = [f"### {plain(table.caption)}", "", f"From {_code(table.source)}.", "", _row(heads), _row(rules)]
    for row in table.rows:
        values = [f"**{plain(cell.text)}**" if cell.best else plain(cell.text) for cell in row.cells]
        lines.append(_row([plain(row.name) + ARROWS[row.better], *values]))
    lines.append("")
    if table.note:
        lines += [plain(table.note), ""]
    return lines


def _markdown_head(column: Column) -> str:
    name = f"{column.group}, {column.name}" if column.group else column.name
    return plain(name) + ARROWS[column.better]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _code(text: str) -> str:
    return "`" + text.replace("`", "'") + "`"
