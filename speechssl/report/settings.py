"""Settings of `speechssl report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import MISSING

from speechssl.errors import UserError


@dataclass
class ReportSettings:
    """What to report on, and where to write it."""

    exp: str = MISSING
    """Experiment folder, as the recipes make it: units/, topics/, clusters-seed<S>/, <method>-seed<S>/, evaluate/,
    lape/, hear/, superb/, export/, or the folder of a benchmark itself. What is not there is listed."""
    out: str | None = None
    """The HTML page; default: report.html in the experiment folder."""
    results: str | None = None
    """The Markdown file with the same numbers; default: RESULTS.md beside the page."""
    title: str | None = None
    """Title of the page; default: the name of the experiment folder."""

    def __post_init__(self) -> None:
        if self.out and Path(self.out).suffix.lower() not in (".html", ".htm"):
            raise UserError(f"out={self.out} is not a page: give a name that ends in .html")
        if self.page.resolve() == self.markdown.resolve():
            raise UserError(f"results={self.results} is the page too: give a name that ends in .md")

    @property
    def page(self) -> Path:
        """Path of the HTML page."""
        return Path(self.out) if self.out else Path(self.exp) / "report.html"

    @property
    def markdown(self) -> Path:
        """Path of the Markdown file."""
        return Path(self.results) if self.results else self.page.parent / "RESULTS.md"
