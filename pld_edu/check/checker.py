"""From a loss, or from the numbers it printed, to a report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .adapters import Result
from .cases import Case, cases, nan_case, random_cases
from .compare import BAD, CheckedCase, Task, compare
from .diagnose import diagnose, failures_to_answer
from .report import CaseReport, Report, smallest_bad
from .running import Child, Local, run

SOURCES = {
    "torch": "PyTorch",
    "jax": "JAX",
    "numpy": "NumPy",
    "file": "numbers from a file",
    None: "no call came back",
}


def check_loss(
    fn: Callable[..., Any],
    *,
    framework: str | None = None,
    gradient: Callable[..., Any] | None = None,
    weights: str = "teacher",
    reduction: str = "mean",
    expected_failures: Mapping[str, str] | None = None,
    timeout: float = 5.0,
) -> Report:
    """Is `fn` the PLD loss of arXiv 2506.12542, and if not, what is wrong with it?

    Every case of the vector file is run, and some random ones; nothing stops at the first error.

    Parameters
    ----------
    fn : callable
        ``fn(student_logits, teacher_logits, labels)`` or with a keyword ``temperature``; logits
        [N, C] (float32 in PyTorch and JAX, float64 in NumPy), integer labels [N]. Without
        `temperature`, cases that need one are left out.
    framework : {"torch", "jax", "numpy"}, optional
        Recognised from what `fn` accepts and returns if not given.
    gradient : callable, optional
        Same arguments; gradient [N, C] of the reduced loss in the student's logits. For PyTorch
        and JAX it replaces autograd; without it only the values of a NumPy function are checked.
    weights : {"teacher", "uniform"}
        "uniform" checks a ListMLE: weights 1/C, or 1 each.
    reduction : {"mean", "sum", "none"}
        What `fn` does over the batch. For "none", `gradient` is of the sum.
    expected_failures : dict, optional
        Reason by case id or flag. These cases do not count; one that passes is noted.
    timeout : float
        Seconds a call may take (JAX: six times that, since it compiles).

    Returns
    -------
    Report

    Raises
    ------
    TypeError
        `fn` or `gradient` cannot be called.
    ValueError
        An unknown framework, weights or reduction; a timeout that is not positive.
    """
    task = Task(weights, reduction, framework, timeout).check()
    for name, function in (("fn", fn), ("gradient", gradient)):
        if not callable(function) and not (name == "gradient" and function is None):
            raise TypeError(f"{name} must be callable, got {type(function).__name__}")
    return run_and_report(Local(fn, gradient, framework, timeout), task, expected_failures or {})


def run_and_report(loss: Local | Child, task: Task, expected_failures: Mapping[str, str]) -> Report:
    """Run a loss on all cases and report on what came."""
    pool = all_cases()
    results = run(loss, pool)
    task = replace(task, framework=loss.framework, temperature=loss.temperature)
    return report_on(pool, results, task, expected_failures)


def all_cases() -> list[Case]:
    """The published cases, fresh random ones, and the one with a NaN."""
    return [*cases(), *random_cases(np.random.default_rng()), nan_case()]


def report_on(
    pool: Sequence[Case],
    results: Mapping[str, Result],
    task: Task,
    expected_failures: Mapping[str, str],
) -> Report:
    """Compare results, wherever they come from, and say what explains them."""
    checked = compare(pool, results, task, expected_failures)
    answered = any(c.result.state in ("ok", "hangs", "crashes") for c in checked)
    causes = diagnose(checked) if answered else failures_to_answer(checked)
    wrong = any(c.bad for c in checked) or any(c.kind == "mistake" for c in causes)
    notes = [*_notes(pool, results, task), *_unmet_expectations(checked, expected_failures)]
    if any(c.task.summed_over_classes for c in checked):
        notes.append("the choices are added up, weights 1 each; PLD's scale has 1/C")
    return Report(
        passed=answered and not wrong,
        causes=tuple(causes),
        cases=tuple(CaseReport.of(c) for c in checked),
        notes=tuple(notes),
        smallest=smallest_bad(checked) if answered else None,
        judged_as=_describe(results, task),
        callable=answered,
    )


def _describe(results: Mapping[str, Result], task: Task) -> str:
    gradients = any(r.gradient is not None for r in results.values())
    what = "values and gradients" if gradients else "values"
    loss = "PLD" if task.weights == "teacher" else "ListMLE (uniform weights)"
    random = sum(name.startswith("random-") for name in results)
    published = len(results) - random - ("nan-in-student" in results)
    return (
        f'{loss}, reduction "{task.reduction}", {what}, {SOURCES[task.framework]}, '
        f"{published} published" + (f" and {random} random cases" if random else " cases")
    )


def _notes(pool: Sequence[Case], results: Mapping[str, Result], task: Task) -> list[str]:
    notes = []
    from_file = task.framework == "file"
    if from_file:
        missing = [c.id for c in cases() if c.id not in results]
        if missing:
            notes.append(f"no numbers for {len(missing)} cases: {', '.join(missing)}")
        unknown = sorted(set(results) - {c.id for c in pool})
        if unknown:
            notes.append(f"no such case: {', '.join(unknown)}")
        notes.append("numbers from a file cannot be tried on random cases")
    elif not task.temperature:
        left_out = sum("temperature" in c.flags for c in pool)
        notes.append(
            f"no argument called temperature: {left_out} cases that need one were left out; under "
            "another name, wrap it: lambda s, t, y, temperature=1.0: loss(s, t, y, tau=temperature)"
        )
    values = any(r.loss is not None for r in results.values())
    if values and not from_file and not any(r.gradient is not None for r in results.values()):
        notes.append("gradients were not judged; a NumPy loss may bring its own: gradient=")
    return notes


def _unmet_expectations(
    checked: Sequence[CheckedCase], expected_failures: Mapping[str, str]
) -> list[str]:
    notes = []
    for key, reason in expected_failures.items():
        named = [c for c in checked if key == c.case.id or key in c.case.flags]
        if not named:
            notes.append(f"expected failure {key!r} names no case and no flag that was run")
        elif not any(c.outcome in (*BAD, "weak", "convention") for c in named):
            notes.append(f"unexpected pass: {key!r} was expected to fail ({reason})")
    return notes
