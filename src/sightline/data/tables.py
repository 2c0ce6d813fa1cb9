"""What a check found, as a person reads it in a terminal."""

from __future__ import annotations

from typing import Any

from ..console import printable
from .findings import KINDS, Check, Finding

COLORS = {"error": "bold red", "warning": "yellow", "info": "dim"}


def in_one_line(checked: Check) -> str:
    """What the data set is, and how many findings of each severity there are."""
    data = checked.dataset
    splits = ", ".join(f"{split} {len(samples)}" for split, samples in data.splits.items())
    counts = {severity: sum(f.severity == severity for f in checked.findings) for severity in COLORS}
    words = [f"{n} {severity}{'s' if n > 1 and severity != 'info' else ''}" for severity, n in counts.items() if n]
    return f"{data.root}: {data.format}, {data.task}, {len(data.classes)} classes; {splits}; {', '.join(words) or 'nothing wrong'}"


def as_table(checked: Check) -> Any:
    """A row for each finding, with its first examples."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    table.add_column("Severity")
    table.add_column("Kind", no_wrap=True)
    table.add_column("Count", justify="right")
    table.add_column("What, what to do, and the first of them", overflow="fold")
    for finding in checked.findings:
        kind = KINDS[finding.kind]
        color = COLORS[finding.severity]
        lines = [f"{kind.meaning}. {kind.fix}", *_examples(checked, finding)]
        table.add_row(
            Text(finding.severity, color),
            Text(finding.kind, color),
            str(finding.count),
            Text(printable("\n".join(lines))),
        )
    return table


def _examples(checked: Check, finding: Finding) -> list[str]:
    root = checked.dataset.root
    lines = []
    for problem in finding.problems[:3]:
        path = problem.path.relative_to(root) if problem.path.is_relative_to(root) else problem.path
        lines.append(f"  {problem.reason}" if problem.path == root else f"  {path}: {problem.reason}")
    return lines
