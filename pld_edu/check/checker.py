"""From a loss, or from the numbers it printed, to a report."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .adapters import FRAMEWORKS
from .cases import Case, cases, nan_case, random_cases
from .diagnose import diagnose, failures_to_answer
from .judge import BAD, Question, judge
from .report import CaseReport, Report, smallest_bad
from .runner import Outcome, Setup, prepare, run

WEIGHTS = ("teacher", "uniform")
REDUCTIONS = ("mean", "sum", "none")
FRAMEWORK_NAMES = {"torch": "PyTorch", "jax": "JAX", "numpy": "NumPy"}


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
        Recognised from the function if not given.
    gradient : callable, optional
        Same arguments; gradient [N, C] of the reduced loss in the student's logits. For PyTorch
        and JAX it replaces autograd; without it a NumPy function is judged by its values alone.
    weights : {"teacher", "uniform"}
        "uniform" judges a ListMLE: weights 1/C, or 1 each.
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
    check_options(framework, weights, reduction, timeout)
    for name, function in (("fn", fn), ("gradient", gradient)):
        if not callable(function) and not (name == "gradient" and function is None):
            raise TypeError(f"{name} must be callable, got {type(function).__name__}")
    pool = all_cases()
    setup, adapter = prepare(fn, framework, gradient, pool[0], timeout)
    todo = [c for c in pool if setup.temperature or "temperature" not in c.flags]
    outcomes = {o.id: o for o in run(adapter, setup, todo, timeout)}
    return report_on(pool, outcomes, Question(weights, reduction), expected_failures or {}, setup)


def all_cases() -> list[Case]:
    """The published cases, fresh random ones, and the one with a NaN."""
    return [*cases(), *random_cases(np.random.default_rng()), nan_case()]


def check_options(framework: str | None, weights: str, reduction: str, timeout: float) -> None:
    """Refuse what the checker does not know, in words."""
    for name, value, known in (
        ("framework", framework, (*FRAMEWORKS, None)),
        ("weights", weights, WEIGHTS),
        ("reduction", reduction, REDUCTIONS),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {known}, got {value!r}")
    if not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds, got {timeout!r}")


def report_on(
    pool: Sequence[Case],
    outcomes: Mapping[str, Outcome],
    question: Question,
    expected_failures: Mapping[str, str],
    setup: Setup | None,
) -> Report:
    """Judge outcomes, wherever they come from, and say what explains them.

    `setup` is None for numbers from a file.
    """
    judged = judge(pool, outcomes, question, expected_failures)
    answered = any(j.outcome.state in ("ok", "hangs", "crashes") for j in judged)
    causes = diagnose(judged) if answered else failures_to_answer(judged)
    passed = (
        answered and not any(j.bad for j in judged) and not any(c.kind == "mistake" for c in causes)
    )
    if judged:
        question = judged[0].question
    return Report(
        passed=passed,
        causes=tuple(causes),
        cases=tuple(CaseReport.of(j) for j in judged),
        notes=tuple(_notes(pool, outcomes, question, setup))
        + tuple(_unmet_expectations(judged, expected_failures)),
        smallest=smallest_bad(judged) if answered else None,
        judged_as=_in_words(outcomes, question, setup),
        callable=answered,
    )


def _in_words(outcomes: Mapping[str, Outcome], question: Question, setup: Setup | None) -> str:
    gradients = any(o.gradient is not None for o in outcomes.values())
    what = "values and gradients" if gradients else "values"
    source = (
        FRAMEWORK_NAMES.get(setup.framework, "no call came back")
        if setup
        else "numbers from a file"
    )
    loss = "PLD" if question.weights == "teacher" else "ListMLE (uniform weights)"
    random = sum(name.startswith("random-") for name in outcomes)
    beside = f" and {random} random cases" if random else ""
    published = len(outcomes) - random - ("nan-in-student" in outcomes)
    return (
        f'{loss}, reduction "{question.reduction}", {what}, {source}, '
        f"{published} published{beside or ' cases'}"
    )


def _notes(
    pool: Sequence[Case],
    outcomes: Mapping[str, Outcome],
    question: Question,
    setup: Setup | None,
) -> list[str]:
    notes = []
    if setup is None:
        missing = [c.id for c in cases() if c.id not in outcomes]
        if missing:
            notes.append(f"no numbers for {len(missing)} cases: {', '.join(missing)}")
        unknown = sorted(set(outcomes) - {c.id for c in pool})
        if unknown:
            notes.append(f"no such case: {', '.join(unknown)}")
        notes.append("numbers from a file cannot be tried on random cases")
    elif not setup.temperature:
        left_out = sum("temperature" in c.flags for c in pool)
        notes.append(
            f"no argument called temperature: {left_out} cases that need one were left out; under "
            "another name, wrap it: lambda s, t, y, temperature=1.0: loss(s, t, y, tau=temperature)"
        )
    values = any(o.loss is not None for o in outcomes.values())
    if setup and values and not any(o.gradient is not None for o in outcomes.values()):
        notes.append("gradients were not judged; a NumPy loss may bring its own: gradient=")
    if question.summed_over_classes:
        notes.append("the choices are added up, weights 1 each; PLD's scale has 1/C")
    return notes


def _unmet_expectations(judged: Sequence[Any], expected: Mapping[str, str]) -> list[str]:
    notes = []
    for key in expected:
        named = [j for j in judged if key == j.case.id or key in j.case.flags]
        if not named:
            notes.append(f"expected failure {key!r} names no case and no flag that was run")
        elif not any(j.verdict in (*BAD, "weak", "convention") for j in named):
            notes.append(f"unexpected pass: {key!r} was expected to fail ({expected[key]})")
    return notes
