"""From a loss, or from the numbers it printed, to a report."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .adapters import ADAPTERS, Adapter, Result, choose_adapter
from .cases import Case, cases, nan_case, random_cases
from .compare import CheckedCase, compare
from .diagnose import diagnose
from .formula import Formula
from .pld import PLD
from .report import Report
from .running import Child, run

CHOICES: dict[str, tuple[str | None, ...]] = {
    "framework": (*ADAPTERS, None),
    "weights": ("teacher", "uniform"),
    "reduction": ("mean", "sum", "none"),
}
Reasons = Mapping[str, str]  # why a failure is expected, by case id or flag
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
        An option is unknown, or the timeout is not positive.
    """
    check_options(timeout, framework=framework, weights=weights, reduction=reduction)
    for name, function in (("fn", fn), ("gradient", fn if gradient is None else gradient)):
        if not callable(function):
            raise TypeError(f"{name} must be callable, got {type(function).__name__}")
    loss = choose_adapter(fn, gradient, framework, timeout)
    right = PLD(weights=weights, over_batch=reduction)
    return run_and_report(loss, right, expected_failures or {})


def check_options(timeout: float, **chosen: str | None) -> None:
    """Raise ValueError for what the checker does not know."""
    for name, value in chosen.items():
        if value not in CHOICES[name]:
            raise ValueError(f"{name} must be one of {CHOICES[name]}, got {value!r}")
    if not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds, got {timeout!r}")


def run_and_report(loss: Adapter | Child, right: Formula, reasons: Reasons) -> Report:
    """Run a loss on all cases and report on what came."""
    pool = all_cases()
    results, notes = run(loss, pool), []
    if not loss.temperature:
        left_out = sum("temperature" in c.flags for c in pool)
        notes.append(
            f"no argument called temperature: {left_out} cases that need one were left out; under "
            "another name, wrap it: lambda s, t, y, temperature=1.0: loss(s, t, y, tau=temperature)"
        )
    if any(r.loss is not None for r in results) and all(r.gradient is None for r in results):
        notes.append("gradients were not judged; a NumPy loss may bring its own: gradient=")
    return _report(results, right, SOURCES[loss.framework], notes, reasons)


def check_outputs(path: str, right: Formula) -> Report:
    """Report on a JSON file with numbers that a program in any language printed.

    It holds ``{case_id: {"loss": x, "gradient": [[...]]}}``; the gradient may be missing. NaN and
    infinities may be written as JSON's extension (NaN, Infinity), as null or as strings.
    ValueError for a file that is not of this form, OSError if it cannot be read.
    """
    text = Path(path).read_text(encoding="utf-8")
    try:
        outputs = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(outputs, dict):
        raise ValueError(f"{path} must hold one object, case id to numbers, got {text[:60]}")
    known = {c.id: c for c in (*cases(), nan_case())}
    results = [_read_result(known[name], outputs[name]) for name in outputs if name in known]
    if not results:
        raise ValueError(f"{path} holds no case of the vectors; ids are like {cases()[0].id!r}")
    notes = ["numbers from a file cannot be tried on random cases"]
    missing = [c.id for c in cases() if c.id not in outputs]
    unknown = sorted(set(outputs) - set(known))
    if unknown:
        notes.insert(0, f"no such case: {', '.join(unknown)}")
    if missing:
        notes.insert(0, f"no numbers for {len(missing)} of the cases: {', '.join(missing)}")
    return _report(results, right, "numbers from a file", notes, {})


def _read_result(case: Case, entry: Any) -> Result:
    if not isinstance(entry, dict) or "loss" not in entry:
        form = '{"loss": x, "gradient": [[...]]}'
        raise ValueError(f"case {case.id!r} must hold {form}, got {json.dumps(entry)[:60]}")
    slope = entry.get("gradient")
    try:
        loss = np.array(entry["loss"], dtype=np.float64)  # null becomes nan
        gradient = None if slope is None else np.array(slope, dtype=np.float64)
    except (TypeError, ValueError) as error:
        message = f"case {case.id!r} holds something that is not a number: {error}"
        raise ValueError(message) from error
    return Result(case, loss=loss, gradient=gradient)


def all_cases() -> list[Case]:
    """The published cases, fresh random ones, and the one with a NaN."""
    return [*cases(), *random_cases(np.random.default_rng()), nan_case()]


def _report(
    results: list[Result], right: Formula, source: str, notes: list[str], reasons: Reasons
) -> Report:
    """Compare results, wherever they come from, and say what explains them."""
    checked = compare(results, right, reasons)
    checked, causes = diagnose(checked)
    answered = any(r.state in ("ok", "hangs", "crashes") for r in results)
    wrong = any(c.bad for c in checked) or any(c.kind == "mistake" for c in causes)
    if any(getattr(c.right, "weights", "") == "ones" for c in checked):
        notes = [*notes, "the choices are added up, weights 1 each; PLD's scale has 1/C"]
    gradients = any(r.gradient is not None for r in results)
    random = sum("random" in c.flags for c in checked)
    published = sum(not {"random", "nan"}.intersection(c.flags) for c in checked)
    uniform = getattr(right, "weights", "teacher") != "teacher"
    name = "ListMLE (uniform weights)" if uniform else right.title
    what = "values and gradients" if gradients else "values"
    count = f"{published} published" + (f" and {random} random cases" if random else " cases")
    return Report(
        passed=answered and not wrong,
        causes=tuple(causes),
        cases=tuple(checked),
        notes=(*notes, *_unmet_expectations(checked, reasons)),
        judged_as=f'{name}, reduction "{right.over_batch}", {what}, {source}, {count}',
        callable=answered,
    )


def _unmet_expectations(checked: Sequence[CheckedCase], reasons: Reasons) -> Iterator[str]:
    for key, reason in reasons.items():
        named = [c for c in checked if key in (c.id, *c.flags)]
        if not named:
            yield f"expected failure {key!r} names no case and no flag that was run"
        elif all(c.outcome in ("right", "skipped") for c in named):
            yield f"unexpected pass: {key!r} was expected to fail ({reason})"
