"""The report: passed or not, why, and every case, as text, HTML or JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from textwrap import fill
from typing import Any

import numpy as np

from .compare import CheckedCase
from .mistakes import BY_NAME

KINDS = {"other-ties": "convention", "extreme-scale": "weakness", "teacher-not-detached": "remark"}


@dataclass(frozen=True)
class Cause:
    """One reason why numbers differ.

    `name` is its anchor in the book's chapter on failure modes, `explains` the number of cases it
    explains (with the other mistake of a pair). Only the `kind` "mistake" makes a report fail; the
    others are "convention", "weakness" and "remark".
    """

    name: str
    sentence: str
    explains: int
    fix: str
    kind: str = "mistake"

    @classmethod
    def of(cls, name: str, explains: Sequence[CheckedCase], sentence: str | None = None) -> "Cause":
        """A cause with the fix, and if there is no other the sentence, of its name."""
        known = BY_NAME[name]
        kind = KINDS.get(name, "mistake")
        return cls(name, sentence or known.sentence, len(explains), known.fix, kind)


@dataclass(frozen=True, repr=False)
class Report:
    """The result of `check_loss`: print it, show it in a notebook, or take `to_json`.

    Attributes
    ----------
    passed : bool
    causes : tuple of Cause
    cases : tuple of CheckedCase
    notes : tuple of str
        What was left out, and anything odd about the expected failures.
    judged_as : str
        What was checked, in words.
    callable : bool
        False if no case could be run at all.
    """

    passed: bool
    causes: tuple[Cause, ...]
    cases: tuple[CheckedCase, ...]
    notes: tuple[str, ...] = ()
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
            "cases": [c.to_dict() for c in self.cases],
        }
        # JSON has no nan: what Python writes as NaN and Infinity becomes "nan" and "inf".
        strict = json.loads(json.dumps(data), parse_constant=lambda name: str(float(name)))
        return json.dumps(strict, indent=1, allow_nan=False)

    @property
    def headline(self) -> str:
        """One line: right or wrong, and how many cases say so."""
        wrong = sum(c.bad for c in self.cases)
        ran = sum(c.outcome != "skipped" for c in self.cases)
        count = f"RIGHT ({ran} cases)" if self.passed else f"WRONG ({wrong} of {ran} cases)"
        return f"PLD check: {count if self.callable else 'could not be called'}"

    @property
    def smallest(self) -> CheckedCase | None:
        """The fewest logits that show the fault; a published case before a random one."""
        bad = [c for c in self.cases if c.bad and self.callable]
        return min(bad, key=lambda c: ("random" in c.flags, c.case.size), default=None)

    def __repr__(self) -> str:
        names = ", ".join(c.name for c in self.causes)
        return f"Report(passed={self.passed}, causes=[{names}])"

    def __str__(self) -> str:
        lines = [self.headline]
        for cause in self.causes:
            kind = "" if cause.kind == "mistake" else f" ({cause.kind}, not an error)"
            lines += ["", f"  {cause.name}{kind}", *_wrap(cause.sentence)]
            if cause.kind == "mistake":
                lines += _wrap(f"Fix: {cause.fix}")
            if cause.kind == "mistake" and cause.explains:
                lines += _wrap(f"Explains {cause.explains} case{'s'[: cause.explains > 1]}.")
        smallest = self.smallest
        if smallest is not None:
            lines += ["", f"  Smallest case: {smallest.id}"]
            lines += [f"    {name:<15} {value}" for name, value in _rows(smallest).items()]
        lines += ["", *_wrap(f"Judged: {self.judged_as}.", 0, 6)]
        for note in self.notes:
            lines += _wrap(f"Note: {note}", 0, 6)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        colour = "#0072B2" if self.passed else "#D55E00"
        headline, body = escape(str(self)).split("\n", 1)
        bar = f"border-left: .3em solid {colour}; padding-left: .4em"
        return f"<b style='{bar}'>{headline}</b>\n<pre style='white-space: pre-wrap'>{body}</pre>"


def _rows(case: CheckedCase) -> dict[str, Any]:
    """Inputs and numbers of a case."""
    rows = case.to_dict()["inputs"]
    rows |= {"right loss": _short(case.expected), "your loss": _short(case.got)}
    if case.got_gradient is not None and case.loss_right:
        rows["right gradient"] = _short(case.expected_gradient)
        rows["your gradient"] = _short(case.got_gradient)
    return rows | ({"message": case.result.message} if case.result.message else {})


def _short(value: Any) -> str:
    if value is None:
        return "none"
    return "[" + ", ".join(map(_short, value)) + "]" if np.ndim(value) else f"{value:.6g}"


def _wrap(text: str, first: int = 4, later: int = 4) -> list[str]:
    return fill(text, 80, initial_indent=" " * first, subsequent_indent=" " * later).splitlines()
