"""What a person is told of a wrong sweep file: each problem with its file, line and key.

Imports the standard library, `fastbp.sweep.conflicts`, `locate` and `values`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fastbp.sweep.conflicts import Finding
from fastbp.sweep.locate import Outline, Path
from fastbp.sweep.values import quoted


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a sweep file or an override.

    Parameters
    ----------
    path : str
        The file, or ``--set KEY=VALUE`` where an override is the cause.
    line : int or None
        1-based; None where there is no line to name.
    key : str
        Such as ``training.steps`` or ``grid[1].learning_rate[3]``, counting from 0; empty for the whole file.
    message : str
        What is wrong; what to do.
    """

    path: str
    line: int | None
    key: str
    message: str

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.message) if part)


class SweepError(ValueError):
    """Everything that is wrong with a sweep file, a line a problem.

    Parameters
    ----------
    problems : sequence of Problem
        In the order of their lines.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


def key_text(path: Path) -> str:
    """Return a path as a person writes it: ``grid[1].learning_rate[3]``."""
    key = ""
    for part in path:
        name = part if isinstance(part, str) and re.fullmatch("[A-Za-z0-9_-]+", part) else quoted(str(part))
        key += f"[{part}]" if isinstance(part, int) else f".{name}" if key else name
    return key


class Origin(NamedTuple):
    """Where a sweep came from: the file, its text as it was before overrides, and what each override set."""

    path: str
    text: str
    sources: Mapping[Path, str]


def place(findings: Sequence[Finding], origin: Origin) -> list[Problem]:
    """Give each finding its line, or the override that is its cause."""
    problems = []
    outline: Outline | None = None
    for finding in findings:
        places = [keys[:n] for keys in (finding.path, *finding.causes) for n in range(len(keys) + 1)]
        source = next((origin.sources[keys] for keys in places if keys in origin.sources), None)
        if source is not None:
            problems.append(Problem(f"--set {source}", None, key_text(finding.path), finding.message))
        else:
            outline = outline or Outline(origin.text)
            line = outline.line(finding.path)
            problems.append(Problem(origin.path, line, key_text(finding.path), finding.message))
    return problems
