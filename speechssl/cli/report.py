"""`speechssl report`: one HTML page and a RESULTS.md from what a run left behind."""

from __future__ import annotations

from speechssl.cli.command import Command
from speechssl.report.report import report_inputs, report_outputs, write_report
from speechssl.report.settings import ReportSettings

COMMAND = Command(
    name="report",
    summary="Write one HTML page with plots and tables, and RESULTS.md, from what a run left behind.",
    settings=ReportSettings,
    run=write_report,
    examples=("exp=exp/mini", "exp=exp/mini out=exp/mini/report.html title='Mini corpus'"),
    inputs=report_inputs,
    outputs=report_outputs,
)
