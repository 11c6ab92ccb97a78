"""From a loss, or from the numbers it printed, to a report."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .adapters import ADAPTERS, Adapter, Result, choose_adapter
from .cases import Case, cases, nan_case, random_cases
from .compare import CheckedCase, Task, compare
from .diagnose import diagnose, failures_to_answer
from .report import Report
from .running import Child, run

WEIGHTS = ("teacher", "uniform")
REDUCTIONS = ("mean", "sum", "none")
FRAMEWORK_NAMES = {
    "torch": "PyTorch",
    "jax": "JAX",
    "numpy": "NumPy",
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
    check_choices(framework, weights, reduction, timeout)
    for name, function in (("fn", fn), ("gradient", gradient)):
        if not callable(function) and not (name == "gradient" and function is None):
            raise TypeError(f"{name} must be callable, got {type(function).__name__}")
    loss = choose_adapter(fn, gradient, framework, timeout)
    return run_and_report(loss, Task(weights, reduction), expected_failures or {})


def check_choices(framework: str | None, weights: str, reduction: str, timeout: float) -> None:
    """Raise ValueError for what the checker does not know."""
    for name, value, known in (
        ("framework", framework, (*ADAPTERS, None)),
        ("weights", weights, WEIGHTS),
        ("reduction", reduction, REDUCTIONS),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {known}, got {value!r}")
    if not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds, got {timeout!r}")


def run_and_report(
    loss: Adapter | Child, task: Task, expected_failures: Mapping[str, str]
) -> Report:
    """Run a loss on all cases and report on what came."""
    pool = all_cases()
    results = run(loss, pool)
    source, notes = FRAMEWORK_NAMES[loss.framework], []
    if not loss.temperature:
        left_out = sum("temperature" in c.flags for c in pool)
        notes.append(
            f"no argument called temperature: {left_out} cases that need one were left out; under "
            "another name, wrap it: lambda s, t, y, temperature=1.0: loss(s, t, y, tau=temperature)"
        )
    values = any(r.loss is not None for r in results.values())
    if values and not any(r.gradient is not None for r in results.values()):
        notes.append("gradients were not judged; a NumPy loss may bring its own: gradient=")
    return report_on(pool, results, task, source, notes, expected_failures)


def report_numbers(results: Mapping[str, Result], task: Task) -> Report:
    """Report on numbers that a program in any language computed from the published cases."""
    pool, notes = cases(), []
    missing = [c.id for c in pool if c.id not in results]
    if len(missing) == len(pool):
        raise ValueError(f"the file holds no case of the vectors; ids are like {pool[0].id!r}")
    if missing:
        notes.append(f"no numbers for {len(missing)} cases: {', '.join(missing)}")
    unknown = sorted(set(results) - {c.id for c in all_cases()})
    if unknown:
        notes.append(f"no such case: {', '.join(unknown)}")
    notes.append("numbers from a file cannot be tried on random cases")
    return report_on(all_cases(), results, task, "numbers from a file", notes, {})


def all_cases() -> list[Case]:
    """The published cases, fresh random ones, and the one with a NaN."""
    return [*cases(), *random_cases(np.random.default_rng()), nan_case()]


def report_on(
    pool: Sequence[Case],
    results: Mapping[str, Result],
    task: Task,
    source: str,
    notes: Sequence[str],
    expected_failures: Mapping[str, str],
) -> Report:
    """Compare results, wherever they come from, and say what explains them."""
    checked = compare(pool, results, task, expected_failures)
    answered = any(c.result.state in ("ok", "hangs", "crashes") for c in checked)
    causes = diagnose(checked) if answered else failures_to_answer(checked)
    wrong = any(c.bad for c in checked) or any(c.kind == "mistake" for c in causes)
    if any(c.task.summed_over_classes for c in checked):
        notes = [*notes, "the choices are added up, weights 1 each; PLD's scale has 1/C"]
    gradients = any(r.gradient is not None for r in results.values())
    what = "values and gradients" if gradients else "values"
    name = "PLD" if task.weights == "teacher" else "ListMLE (uniform weights)"
    random = sum("random" in c.flags for c in checked)
    published = len(results) - random - ("nan-in-student" in results)
    count = f"{published} published" + (f" and {random} random cases" if random else " cases")
    return Report(
        passed=answered and not wrong,
        causes=tuple(causes),
        cases=tuple(checked),
        notes=(*notes, *_unmet_expectations(checked, expected_failures)),
        judged_as=f'{name}, reduction "{task.reduction}", {what}, {source}, {count}',
        callable=answered,
    )


def _unmet_expectations(
    checked: Sequence[CheckedCase], expected_failures: Mapping[str, str]
) -> list[str]:
    notes = []
    for key, reason in expected_failures.items():
        named = [c for c in checked if key in (c.id, *c.flags)]
        if not named:
            notes.append(f"expected failure {key!r} names no case and no flag that was run")
        elif all(c.outcome in ("right", "skipped") for c in named):
            notes.append(f"unexpected pass: {key!r} was expected to fail ({reason})")
    return notes
