"""Tables in LaTeX."""

from __future__ import annotations

from collections.abc import Sequence

_LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"±": r"$\pm$", "~": r"\~{}", "^": r"\^{}", "\\": r"\textbackslash{}"}
)


def latex_table(rows: list[list[str]], notes: Sequence[str]) -> str:
    """Return a `tabular`, with the notes as lines below it. Needs no package."""
    header, *body = [" & ".join(cell.translate(_LATEX) for cell in row) + r" \\" for row in rows]
    columns = "l" + "r" * (len(rows[0]) - 1)
    below = [rf"\multicolumn{{{len(rows[0])}}}{{l}}{{\footnotesize {note.translate(_LATEX)}}} \\" for note in notes]
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\hline", header, r"\hline", *body, r"\hline", *below]
    return "\n".join([*lines, r"\end{tabular}"]) + "\n"
