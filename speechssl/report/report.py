"""`speechssl report`: read what a run left behind, lay it out, write the page and RESULTS.md."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from speechssl.files import write_text
from speechssl.report.benchmarks import encoders_of
from speechssl.report.clusters import clusters_section
from speechssl.report.encoders import in_order, shown_name
from speechssl.report.environment import machine, revision, versions
from speechssl.report.evaluation import evaluation_section
from speechssl.report.facts import facts_table
from speechssl.report.findings import Findings, input_files, read_findings
from speechssl.report.hear import hear_section
from speechssl.report.lape import lape_section
from speechssl.report.page import Missing, render_markdown, render_page
from speechssl.report.settings import ReportSettings
from speechssl.report.superb import superb_section
from speechssl.report.tables import Section, present
from speechssl.report.topics import topics_section
from speechssl.report.training import training_section
from speechssl.report.units import units_section


def report_inputs(settings: ReportSettings) -> Iterable[Path]:
    """Return the files that the report shows."""
    return input_files(Path(settings.exp))


def report_outputs(settings: ReportSettings) -> Iterable[Path]:
    """Return the page and RESULTS.md."""
    return (settings.page, settings.markdown)


def write_report(settings: ReportSettings) -> None:
    """Write the page and RESULTS.md; what was not found is listed there, and said.

    Raises:
        UserError: the experiment folder does not exist, or a file in it is broken (named with the line).
    """
    found = read_findings(Path(settings.exp))
    title = settings.title or found.exp.resolve().name
    sections = [section for section in _sections(found) if not section.is_empty()]
    lead = _lead(found)
    missing = Missing(str(found.exp), found.missing)
    write_text(settings.page, render_page(title, lead, sections, missing))
    write_text(settings.markdown, render_markdown(title, lead, sections, missing))
    for line in found.missing:
        print(f"report: not found in {found.exp}: {line}")
    print(f"report: wrote {settings.page} and {settings.markdown}")


def _sections(found: Findings) -> list[Section]:
    return [
        evaluation_section(found),
        superb_section(found),
        lape_section(found),
        hear_section(found),
        training_section(found),
        units_section(found),
        topics_section(found),
        clusters_section(found),
        _export_section(found),
        _making_section(found),
    ]


def _lead(found: Findings) -> list[str]:
    """Return whose results these are: of the runs, or of the encoders that were evaluated where there are none."""
    methods: dict[str, list[str]] = {}
    for run in found.runs:
        methods.setdefault(run.method, []).append(str(run.seed))
    runs = "; ".join(
        f"{method}, seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}" for method, seeds in methods.items()
    )
    trained = f"Encoders trained: {runs}." if runs else f"Encoders evaluated: {', '.join(_evaluated(found)) or 'none'}."
    return [f"Results of the experiment folder {found.exp}. {trained}"]


def _evaluated(found: Findings) -> list[str]:
    benchmarks = [*(each.values for each in found.lape), *found.hear.tasks, *found.superb.tasks]
    names = {*found.evaluation.get("scores", {}), *encoders_of(benchmarks)}
    return [shown_name(name) for name in in_order(sorted(names))]


def _export_section(found: Findings) -> Section:
    section = Section("export", "Exports", "An export that gives other hidden states than our own encoder is not kept.")
    files = {
        folder: ", ".join(f"{path.name} ({path.stat().st_size / 1e6:.2f} MB)" for path in paths)
        for folder, paths in found.exports.items()
    }
    checks = (
        facts_table(f"Check: {name}", f"{found.exp}/{name}", content) for name, content in found.export_checks.items()
    )
    section.tables = present([facts_table("Files", f"{found.exp}/export", files), *checks])
    return section


def _making_section(found: Findings) -> Section:
    """Return the command, the code revision, versions, and the machine."""
    section = Section("making", "How this was made", "Code, versions and machine are those that wrote this report.")
    facts = {"command": found.command or "not recorded", "git revision": revision()}
    tables = (
        facts_table("Command and code", f"{found.exp}/run.sh and git", facts),
        facts_table("Versions", "the installed packages", versions()),
        facts_table("Machine", "the operating system and torch", machine()),
    )
    section.tables = present(tables)
    return section
