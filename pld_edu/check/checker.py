"""From a loss, or from the numbers it printed, to a report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .adapters import ADAPTERS, Adapter, Result, choose_adapter
from .cases import Case, Floats, cases, nan_case, random_cases
from .compare import CheckedCase, compare
from .diagnose import diagnose
from .report import Report
from .running import Child, run
from .variants import LossVariant

WEIGHTS = ("teacher", "uniform")
REDUCTIONS = ("mean", "sum", "none")
Outputs = tuple[Floats, Floats | None]
SOURCES = {"torch": "PyTorch", "jax": "JAX", "numpy": "NumPy", None: "no call came back"}


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
    for name, function in (("fn", fn), ("gradient", fn if gradient is None else gradient)):
        if not callable(function):
            raise TypeError(f"{name} must be callable, got {type(function).__name__}")
    loss = choose_adapter(fn, gradient, framework, timeout)
    return run_and_report(
        loss, LossVariant(weights=weights, over_batch=reduction), expected_failures or {}
    )


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
    loss: Adapter | Child, right: LossVariant, expected_failures: Mapping[str, str]
) -> Report:
    """Run a loss on all cases and report on what came."""
    pool = all_cases()
    results, notes = run(loss, pool), []
    if not loss.temperature:
        left_out = sum("temperature" in c.flags for c in pool)
        notes.append(
            f"no argument called temperature: {left_out} cases that need one were left out; under "
            "another name, wrap it: lambda s, t, y, temperature=1.0: loss(s, t, y, tau=temperature)"
        )
    values = any(r.loss is not None for r in results)
    if values and not any(r.gradient is not None for r in results):
        notes.append("gradients were not judged; a NumPy loss may bring its own: gradient=")
    return _report(results, right, SOURCES[loss.framework], notes, expected_failures)


def report_outputs(outputs: Mapping[str, Outputs], right: LossVariant) -> Report:
    """Report on values and gradients by case id, from a program in any language."""
    known = {c.id: c for c in (*cases(), nan_case())}
    results = [Result(known[i], loss=x, gradient=g) for i, (x, g) in outputs.items() if i in known]
    if not results:
        raise ValueError(f"the file holds no case of the vectors; ids are like {cases()[0].id!r}")
    notes = ["numbers from a file cannot be tried on random cases"]
    missing = [c.id for c in cases() if c.id not in outputs]
    unknown = sorted(set(outputs) - set(known))
    if unknown:
        notes.insert(0, f"no such case: {', '.join(unknown)}")
    if missing:
        notes.insert(0, f"no numbers for {len(missing)} cases: {', '.join(missing)}")
    return _report(results, right, "numbers from a file", notes, {})


def all_cases() -> list[Case]:
    """The published cases, fresh random ones, and the one with a NaN."""
    return [*cases(), *random_cases(np.random.default_rng()), nan_case()]


def _report(
    results: Sequence[Result],
    right: LossVariant,
    source: str,
    notes: Sequence[str],
    expected_failures: Mapping[str, str],
) -> Report:
    checked = compare(results, right, expected_failures)
    causes = diagnose(checked)
    answered = any(r.state in ("ok", "hangs", "crashes") for r in results)
    wrong = any(c.bad for c in checked) or any(c.kind == "mistake" for c in causes)
    if any(c.right.weights == "ones" for c in checked):
        notes = [*notes, "the choices are added up, weights 1 each; PLD's scale has 1/C"]
    gradients = any(r.gradient is not None for r in results)
    random = sum("random" in c.flags for c in checked)
    published = sum(not {"random", "nan"}.intersection(c.flags) for c in checked)
    name = "PLD" if right.weights == "teacher" else "ListMLE (uniform weights)"
    what = "values and gradients" if gradients else "values"
    count = f"{published} published" + (f" and {random} random cases" if random else " cases")
    return Report(
        passed=answered and not wrong,
        causes=tuple(causes),
        cases=tuple(checked),
        notes=(*notes, *_unmet_expectations(checked, expected_failures)),
        judged_as=f'{name}, reduction "{right.over_batch}", {what}, {source}, {count}',
        callable=answered,
    )


def _unmet_expectations(
    checked: Sequence[CheckedCase], expected_failures: Mapping[str, str]
) -> Iterator[str]:
    for key, reason in expected_failures.items():
        named = [c for c in checked if key in (c.id, *c.flags)]
        if not named:
            yield f"expected failure {key!r} names no case and no flag that was run"
        elif all(c.outcome in ("right", "skipped") for c in named):
            yield f"unexpected pass: {key!r} was expected to fail ({reason})"
