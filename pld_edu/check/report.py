"""The report: passed or not, why, and every case, as text, HTML or JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from textwrap import fill
from typing import Any

import numpy as np

from .compare import BAD, CheckedCase
from .mistakes import BY_NAME

HARMLESS = {
    "other-ties": "convention",
    "extreme-scale": "weakness",
    "teacher-not-detached": "remark",
}
WIDTH = 80


@dataclass(frozen=True)
class Cause:
    """One reason why numbers differ.

    Attributes
    ----------
    name : str
        Anchor in the book's chapter on failure modes.
    sentence : str
    explains : int
        How many cases it explains (together with the other mistake of a pair).
    fix : str
    kind : {"mistake", "convention", "weakness", "remark"}
        Only a mistake makes a report fail.
    """

    name: str
    sentence: str
    explains: int
    fix: str
    kind: str = "mistake"

    @classmethod
    def of(cls, name: str, explains: int, sentence: str | None = None) -> "Cause":
        """A cause with the sentence and the fix that its name stands for."""
        known = BY_NAME[name]
        kind = HARMLESS.get(name, "mistake")
        return cls(name, sentence or known.sentence, explains, known.fix, kind)


@dataclass(frozen=True)
class CaseReport:
    """One case: its flags, the right numbers, the numbers that came, and the outcome."""

    id: str
    flags: tuple[str, ...]
    expected: Any
    got: Any
    expected_gradient: Any
    got_gradient: Any
    loss_right: bool
    outcome: str
    message: str = ""
    inputs: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, c: CheckedCase) -> "CaseReport":
        """Plain numbers and lists from a checked case."""
        case, result = c.case, c.result
        failed = c.failure_expected and c.outcome in BAD
        return cls(
            case.id,
            case.flags,
            c.expected.tolist(),
            None if result.loss is None else c.got.tolist(),
            c.expected_gradient.tolist(),
            None if result.gradient is None else result.gradient.tolist(),
            c.value_right,
            f"expected failure: {c.failure_expected}" if failed else c.outcome,
            result.message,
            {
                "student_logits": case.student_logits.tolist(),
                "teacher_logits": case.teacher_logits.tolist(),
                "labels": case.labels.tolist(),
                "temperature": case.temperature,
            },
        )


@dataclass(frozen=True, repr=False)
class Report:
    """The result of `check_loss`: print it, show it in a notebook, or take `to_json`.

    Attributes
    ----------
    passed : bool
    causes : tuple of Cause
    cases : tuple of CaseReport
    notes : tuple of str
        What was left out, and anything odd about the expected failures.
    smallest : CaseReport or None
        The smallest case that shows the fault.
    judged_as : str
        What was checked, in words.
    callable : bool
        False if no case could be run at all.
    """

    passed: bool
    causes: tuple[Cause, ...]
    cases: tuple[CaseReport, ...]
    notes: tuple[str, ...] = ()
    smallest: CaseReport | None = None
    judged_as: str = ""
    callable: bool = True

    def to_json(self) -> str:
        """The whole report as JSON text; NaN and infinities become strings."""
        data = {
            "passed": self.passed,
            "callable": self.callable,
            "judged_as": self.judged_as,
            "causes": [vars(c) for c in self.causes],
            "notes": list(self.notes),
            "smallest": self.smallest.id if self.smallest else None,
            "cases": [vars(c) for c in self.cases],
        }
        return json.dumps(_strict(data), indent=1, allow_nan=False)

    @property
    def headline(self) -> str:
        """One line: right or wrong, and how many cases say so."""
        if not self.callable:
            return "PLD check: could not be called"
        wrong = sum(c.outcome in BAD for c in self.cases)
        ran = sum(c.outcome != "skipped" for c in self.cases)
        if self.passed:
            return f"PLD check: RIGHT ({ran} cases)"
        return f"PLD check: WRONG ({wrong} of {ran} cases)"

    def __repr__(self) -> str:
        names = ", ".join(c.name for c in self.causes)
        return f"Report(passed={self.passed}, causes=[{names}])"

    def __str__(self) -> str:
        lines = [self.headline]
        for cause in self.causes:
            kind = "" if cause.kind == "mistake" else f" ({cause.kind}, not an error)"
            lines += ["", f"  {cause.name}{kind}", *_indented(cause.sentence)]
            if cause.kind == "mistake":
                lines += _indented(f"Fix: {cause.fix}")
            if cause.kind == "mistake" and cause.explains:
                lines += _indented(f"Explains {cause.explains} case{'s'[: cause.explains > 1]}.")
        if self.smallest is not None:
            lines += ["", f"  Smallest case: {self.smallest.id}"]
            lines += [f"    {k:<15} {v}" for k, v in self._smallest_rows()]
        lines += ["", *_wrapped(f"Judged: {self.judged_as}.")]
        for note in self.notes:
            lines += _wrapped(f"Note: {note}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        colour = "#0072B2" if self.passed else "#D55E00"
        parts = [f"<p><b style='color:{colour}'>{escape(self.headline)}</b></p>"]
        if self.causes:
            head = ("cause", "kind", "what", "fix", "cases")
            rows = [
                (f"<code>{escape(c.name)}</code>", c.kind, escape(c.sentence), escape(c.fix),
                 str(c.explains or ""))
                for c in self.causes
            ]  # fmt: skip
            parts.append(_table(head, rows))
        if self.smallest is not None:
            parts.append(f"<p>Smallest case: <code>{escape(self.smallest.id)}</code></p>")
            parts.append(_table((), [(k, escape(str(v))) for k, v in self._smallest_rows()]))
        parts.append(f"<p>Judged: {escape(self.judged_as)}.</p>")
        parts += [f"<p>Note: {escape(note)}</p>" for note in self.notes]
        return "\n".join(parts)

    def _smallest_rows(self) -> list[tuple[str, str]]:
        case = self.smallest
        assert case is not None
        rows = [(name, str(value)) for name, value in case.inputs.items()]
        rows += [("right loss", _short(case.expected)), ("your loss", _short(case.got))]
        if case.got_gradient is not None and case.loss_right:
            rows += [("right gradient", _short(case.expected_gradient))]
            rows += [("your gradient", _short(case.got_gradient))]
        if case.message:
            rows.append(("message", case.message))
        return rows


def smallest_bad(checked: Sequence[CheckedCase]) -> CaseReport | None:
    """The fewest logits that show the fault; a published case before a random one."""
    bad = [c for c in checked if c.bad]
    if not bad:
        return None
    return CaseReport.of(min(bad, key=lambda c: ("random" in c.case.flags, c.case.size)))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        style = " style='text-align:left'"
        return "<tr>" + "".join(f"<{tag}{style}>{c}</{tag}>" for c in cells) + "</tr>"

    top = line(head, "th") if head else ""
    return "<table>" + top + "".join(line(r, "td") for r in rows) + "</table>"


def _short(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list):
        return "[" + ", ".join(_short(v) for v in value) + "]"
    return f"{value:.6g}"


def _indented(text: str) -> list[str]:
    return fill(text, WIDTH, initial_indent="    ", subsequent_indent="    ").splitlines()


def _wrapped(text: str) -> list[str]:
    return fill(text, WIDTH, subsequent_indent="      ").splitlines()


def _strict(value: Any) -> Any:
    """Plain JSON values."""
    if isinstance(value, dict):
        return {k: _strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(v) for v in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return value
