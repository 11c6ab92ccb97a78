"""From checked cases to causes: which known mistakes would have printed exactly these numbers?

The plain cases decide on the variant of the loss: it must reproduce every one of them. The rest is
then compared with that variant: large and spread logits, gradients, side effects.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from .cases import Floats
from .compare import CheckedCase
from .engine import Relation, describe_relation, find_mistake, is_finite
from .family import LOSSES
from .formula import Formula
from .report import Cause
from .search import Found, Search, Stack, solved

SLACK, HALF_PRECISION_SLACK = 3.0, 1000.0
NUMERICAL = frozenset({"large", "spread", "extreme"})  # Here rounding is put to the test.
NOT_THE_LOSS = {"cross-entropy-only", "student-unused", "part-missing", "sign-flipped"}
WIDE = {"eps": np.geomspace(1e-40, 0.5, 200), "clip": np.geomspace(1.0, 200.0, 200)}


def diagnose(checked: list[CheckedCase]) -> tuple[list[CheckedCase], list[Cause]]:
    """The cases beside the right loss in the caller's coefficients; every cause, mistakes first."""
    bad = [c for c in checked if c.bad]
    plain = [c for c in checked if c.finite and "plain" in c.flags and not c.failure_expected]
    causes = list(_failures(checked))
    half = _low_precision_dtype(checked)
    slack = HALF_PRECISION_SLACK if half else SLACK
    found = explain(plain, checked[0].right, slack) if plain else None
    if found and found.variant.eps:  # Spread logits show it best.
        found = replace(found, variant=_solved(checked, found.variant)[1])
    if found and isinstance(found.variant, type(checked[0].right)):
        checked = [replace(c, right=found.right) for c in checked]
        bad = [c for c in checked if c.bad]
    if half and bad:
        sentence = f"Every result is a {half} number: {half} arithmetic inside."
        causes.append(Cause.of("low-precision", [c for c in bad if c.finite], sentence))
    if found:
        causes += _found_causes(found, bad, slack)
        if not half:
            numerical, variant = _numerical_causes(checked, found.variant)
            smooth = [c for c in bad if not numerical or NUMERICAL.isdisjoint(c.flags)]
            causes += numerical + _gradient_causes(smooth, variant)
    elif any(c.bad for c in plain):
        causes += _unexplained(plain, bad)
    causes += _other_mistakes(checked)
    if bad and not any(cause.kind == "mistake" for cause in causes):
        causes.append(_unknown(bad))
    passes = not any(cause.kind == "mistake" for cause in causes)
    merged: dict[str, Cause] = {}  # The first sentence stays, the counts add up.
    for cause in (*causes, *_remarks(checked, passes)):
        first = merged.get(cause.name, replace(cause, explains=0))
        merged[cause.name] = replace(first, explains=first.explains + cause.explains)
    return checked, list(merged.values())


def explain(plain: Sequence[CheckedCase], right: Formula, slack: float) -> Found | None:
    """The right loss, up to three mistakes in it, or another loss; None if nothing fits."""
    own = [Search(right, plain, slack)]
    kinds = [kind for kind in LOSSES.values() if kind is not type(right)]
    others = [Search(kind(over_batch=right.over_batch), plain, slack) for kind in kinds]
    for searches, levels in ((own, (0, 1)), (others, (0, 1)), (own, (2, 3)), (others, (2,))):
        for number, search in product(levels, searches):
            found = search.level(number)
            if found and (search in own or not NOT_THE_LOSS & set(found.names)):
                return found
    return None


def _found_causes(found: Found, bad: Sequence[CheckedCase], slack: float) -> Iterator[Cause]:
    """The mistakes in what was found, and which loss it is if it is another."""
    variant = found.variant
    explained = [c for c in bad if c.reproduced_by(variant, slack=slack, gradients=False)]
    if bad and not isinstance(variant, type(bad[0].right)):
        sentence = f"This is {variant.title} ({variant.source}): {variant.words}."
        yield Cause.of("another-loss", explained, sentence)
    for name in found.names:
        cause = Cause.of(name, explained, variant.describe(name))
        yield replace(cause, kind="remark") if name in variant.remarks else cause


def _join(values: Iterable[Floats]) -> Floats:
    return np.concatenate([np.ravel(v) for v in values])


def _failures(checked: Sequence[CheckedCase]) -> Iterator[Cause]:
    """Exceptions, hangs, crashes, and results of another shape."""
    for state in ("crashes", "hangs", "raises"):
        failing = [c for c in checked if c.outcome == state]
        if failing:
            first = min(failing, key=lambda c: c.case.size)
            yield Cause.of(state, failing, f"{first.id}: {first.result.message}.")
    misshapen = [c for c in checked if c.outcome == "wrong" and not c.shape_right]
    if misshapen:
        first = misshapen[0]
        asked = f'reduction="{first.right.over_batch}" asks for {first.expected.shape}'
        sentence = f"The result has shape {first.got.shape}; {asked}."
        yield Cause.of("wrong-shape", misshapen, sentence)


def _low_precision_dtype(checked: Sequence[CheckedCase]) -> str | None:
    """Name "float16" or "bfloat16" if every value or every gradient is a number of that format.

    A loss that converts to half precision hands its gradient back through that conversion, so
    all of its digits beyond the 8th or 11th bit are 0. No float32 loss does that by accident.
    """
    done = [c for c in checked if c.finite and "plain" in c.flags and c.case.size > 4]
    if len(done) < 4:
        return None
    slopes = [c.got_gradient for c in done if c.got_gradient is not None]
    for numbers in (_join(c.got for c in done), _join([np.zeros(1), *slopes])):
        with np.errstate(over="ignore"):
            float16 = numbers.astype(np.float16)
            bfloat16 = (numbers.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)
        if np.count_nonzero(np.abs(numbers) > 1e-3) > 3:
            for name, rounded in (("float16", float16), ("bfloat16", bfloat16)):
                if np.array_equal(rounded, numbers):
                    return name
    return None


def _numerical_causes(checked: Sequence[CheckedCase], variant: Any) -> tuple[list[Cause], Formula]:
    """Why large and spread logits are off; the variant, with an eps in it if one is found."""
    failing = [c for c in checked if c.outcome == "wrong" and NUMERICAL.intersection(c.flags)]
    failing = [c for c in failing if not c.reproduced_by(variant)]
    if all(c.reproduced_by(variant, gradients=False) for c in failing):
        return [], variant
    causes = []
    name, found = _solved(checked, variant)
    explained = [c for c in failing if name and c.reproduced_by(found, gradients=False)]
    if explained:
        causes.append(Cause.of(name, explained, found.describe(name)))
        failing = [c for c in failing if c not in explained]
        variant = found
    if failing:
        values = _join(c.got for c in failing)
        worst = max(failing, key=lambda c: c.case.scale)
        name, what = "loses-precision", "Digits are lost"
        if not np.isfinite(values).all() or np.abs(values).max() > 1e30:
            name, what = "overflow", "exp() overflows or underflows"
        elif hasattr(variant, "tail") and all("spread" in c.flags for c in failing):
            name, what = "cancellation", "Small tails are lost in a difference"
        elif (values == 0.0).any():
            name, what = "nan-to-zero", "A failure is turned into 0"
        where = f"at student logits of {worst.case.scale:.0f} ({worst.id})"
        causes.append(Cause.of(name, failing, f"{what} {where}: {_difference(worst)}."))
    return causes, variant


def _solved(checked: Sequence[CheckedCase], variant: Any) -> tuple[str, Any]:
    """An eps, a clamp or a mask that explains the spread logits, by name, and its variant."""
    spread = [c for c in checked if c.finite and "spread" in c.flags]
    bare = replace(variant, log="exact", eps=0.0) if variant.eps else variant
    if bare.log != "exact" or all(c.reproduced_by(bare, slack=SLACK) for c in spread):
        return "", variant
    stacks = [Stack([c]) for c in spread]
    candidates = (
        (name, solved(replace(bare, **way), field, WIDE[field], stacks, fit=False))
        for name, (field, ways) in variant.solved.items()
        for way in (ways if field in WIDE else ())
    )
    found = find_mistake(
        candidates,
        lambda one: all(c.reproduced_by(one[1], slack=SLACK, gradients=False) for c in spread),
        lambda one: all(c.reproduced_by(one[1], slack=SLACK) for c in spread),
    )
    return found or ("", variant)


def _gradient_causes(bad: Sequence[CheckedCase], variant: Formula) -> list[Cause]:
    """Values that obey the variant, with gradients that do not."""
    off = [c for c in bad if c.reproduced_by(variant, slack=SLACK, gradients=False)]
    off = [c for c in off if not c.reproduced_by(variant, slack=SLACK)]
    slopes = [c.got_gradient for c in off if c.got_gradient is not None]
    if slopes and not any(np.any(g) for g in slopes):
        return [Cause.of("no-gradient", off)]
    broken = [c for c in off if not c.result.gradient_error and not is_finite(c.got_gradient)]
    wrong = [c for c in off if c not in broken]
    named = (("gradient-wrong", wrong), ("gradient-not-finite", broken))
    return [Cause.of(name, cs, _gradient_sentence(cs)) for name, cs in named if cs]


def _gradient_sentence(off: Sequence[CheckedCase]) -> str:
    """How the gradient of the smallest case is wrong."""
    c = min(off, key=lambda c: c.case.size)
    got, right = c.got_gradient, c.expected_gradient
    if got is None:
        return f"The value is right; the gradient cannot be had: {c.result.gradient_error}."
    relation = describe_relation([got], [right], rtol=1e-3) or Relation("none", "")
    match relation.kind:
        case "shape":
            wrong = f"has shape {got.shape} for logits {right.shape}"
        case "not finite":
            wrong = f"holds NaN or infinity ({c.id})"
        case "sign" | "factor":
            wrong = f"is {relation.number:.4g} times what it should be ({c.id})"
        case _:
            at = np.unravel_index(np.abs(got - right).argmax(), right.shape)
            place = f"[{at[0]}, {at[1]}] of {c.id}"
            wrong = f"is not: {got[at]:.6g} at {place}, where {right[at]:.6g} is right"
    return f"The value is right, the gradient {wrong}."


def _difference(c: CheckedCase) -> str:
    if c.loss_right:
        return _gradient_sentence([c]).rstrip(".")
    return f"loss {np.ravel(c.got)[0]:.7g} where {np.ravel(c.expected)[0]:.7g} is right"


def _other_mistakes(checked: Sequence[CheckedCase]) -> Iterator[Cause]:
    """A NaN that came in and did not come out; arguments changed in place."""
    hidden = [c for c in checked if "nan" in c.flags and c.bad]
    if hidden:
        got = f"{np.ravel(hidden[0].got)[0]:.4g}, which hides the failure"
        sentence = f"A NaN among the student's logits comes out as {got}."
        yield Cause.of("nan-to-zero", hidden, sentence)
    touched = [c for c in checked if c.result.inputs_modified]
    if touched:
        yield Cause.of("inputs-modified", touched)


def _remarks(checked: Sequence[CheckedCase], passes: bool) -> Iterator[Cause]:
    """What is no mistake: a teacher that learns, trouble beyond 100 if it passes, other ties."""
    leaking = [c for c in checked if (c.result.teacher_gradient or 0.0) > 1e-6]
    if leaking:
        yield Cause.of("teacher-not-detached", leaking)
    weak = [c for c in checked if c.outcome == "weak" and not c.failure_expected]
    if weak and passes:
        c = min(weak, key=lambda c: c.case.scale)
        seen = f"{c.case.scale:.0f} ({c.id}): {c.result.message or _difference(c)}"
        sentence = f"Right up to student logits of 100. First seen off at {seen}."
        yield Cause.of("extreme-scale", weak, sentence)
    other = [c for c in checked if c.outcome == "convention"]
    if other:
        yield Cause.of("other-ties", other)


def _unexplained(plain: Sequence[CheckedCase], bad: Sequence[CheckedCase]) -> Iterator[Cause]:
    """What can be said where no variant gives the numbers."""
    slopes = [c for c in plain if c.got_gradient is not None and not c.result.gradient_error]
    if Search(plain[0].right, plain, HALF_PRECISION_SLACK).level(0):
        text = "Right to two or three digits: half precision, or rounding, somewhere inside."
        yield Cause.of("low-precision", [c for c in bad if c.finite], text)
    elif slopes and all(c.gradient_right for c in slopes):
        yield Cause.of("constant-added", [c for c in bad if c.finite])
    else:
        yield _unknown([c for c in bad if c.finite])


def _unknown(bad: Sequence[CheckedCase]) -> Cause:
    text = "All published cases are right, random ones are not: a table of answers?"
    return Cause.of("unknown", (), text if all("random" in c.flags for c in bad) else None)
