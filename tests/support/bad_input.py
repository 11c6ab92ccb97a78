"""Arguments that must be refused, and what the refusal must say, for all three packages.

Lists become float64 or int64 arrays, or tensors by `as_given`. A row of `BAD` changes some of
`GOOD` and names the arguments it concerns; every loss that takes all of them must answer with the
message.
"""

import inspect
from math import inf, nan
from typing import Any, NamedTuple

import torch

from pld_edu import reference

GOOD: dict[str, Any] = {
    "student_logits": [[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]],
    "teacher_logits": [[0.5, 2.0, -1.0], [1.0, 0.0, 0.25]],
    "labels": [2, 0],
}
S, T, Y = GOOD
LOSSES = (
    "pld_loss",
    "cross_entropy",
    "list_mle",
    "position_list_mle",
    "kd_loss",
    "dist_loss",
    "dkd_loss",
)


class Bad(NamedTuple):
    name: str
    changes: dict[str, Any]
    message: str
    only: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


def with_entry(rows: list[list[float]], value: float, *places: tuple[int, int]) -> list:
    changed = [list(row) for row in rows]
    for i, j in places:
        changed[i][j] = value
    return changed


ROW_WISE = ("pld_loss", "cross_entropy", "kd_loss", "dkd_loss")
LISTWISE = ("list_mle", "position_list_mle")
EMPTY = {S: [], T: [], Y: []}

BAD = [
    Bad(
        "nan student",
        {S: with_entry(GOOD[S], nan, (1, 0), (1, 2))},
        r"student_logits must be finite.*got nan at index \[1, 0\]",
    ),
    Bad(
        "inf student",
        {S: with_entry(GOOD[S], inf, (0, 2))},
        r"student_logits must be finite.*got inf at index \[0, 2\]",
    ),
    Bad(
        "nan teacher",
        {T: with_entry(GOOD[T], nan, (0, 1))},
        r"teacher_logits must be finite.*got nan at index \[0, 1\]",
    ),
    Bad(
        "inf teacher",
        {T: with_entry(GOOD[T], inf, (1, 1))},
        r"teacher_logits must be finite.*got inf at index \[1, 1\]",
    ),
    Bad(
        "class masked in the student alone",
        {S: with_entry(GOOD[S], -inf, (0, 1)), T: GOOD[T]},
        r"student_logits is -inf at index \[0, 1\] where teacher_logits is 2.0.*"
        "mask a class in both or in neither",
        never=LISTWISE,
    ),
    Bad(
        "masked label",
        {S: with_entry(GOOD[S], -inf, (1, 0)), T: with_entry(GOOD[T], -inf, (1, 0)), Y: [2, 0]},
        r"student_logits is -inf for the label 0 of row \[1\].*a label cannot be a masked class",
        never=LISTWISE,
    ),
    Bad(
        "masked label without teacher",
        {S: with_entry(GOOD[S], -inf, (1, 0))},
        r"student_logits is -inf for the label 0 of row \[1\]",
        only=("cross_entropy",),
    ),
    Bad(
        "every class masked",
        {
            S: with_entry(GOOD[S], -inf, (1, 0), (1, 1), (1, 2)),
            T: with_entry(GOOD[T], -inf, (1, 0), (1, 1), (1, 2)),
        },
        r"teacher_logits is -inf for every class of row \[1\].*leave at least one class",
        never=LISTWISE,
    ),
    Bad(
        "every class masked in the teacher",
        {T: with_entry(GOOD[T], -inf, (1, 0), (1, 1), (1, 2))},
        r"teacher_logits is -inf for every class of row \[1\]",
        never=LISTWISE,
    ),
    Bad(
        "masked class in a full ranking",
        {S: with_entry(GOOD[S], -inf, (0, 1)), T: with_entry(GOOD[T], -inf, (0, 1))},
        r"student_logits must be finite, got -inf at index \[0, 1\]",
        only=LISTWISE,
    ),
    Bad(
        "masked teacher class in a full ranking",
        {T: with_entry(GOOD[T], -inf, (0, 1))},
        r"teacher_logits must be finite, got -inf at index \[0, 1\]",
        only=LISTWISE,
    ),
    Bad("label C", {Y: [2, 3]}, r"labels must lie in 0\.\.2 for 3 classes.*got 3"),
    Bad("label -1", {Y: [-1, 0]}, r"labels must lie in 0\.\.2 for 3 classes.*got -1"),
    Bad(
        "label far out",
        {Y: [2**40, 0]},
        r"labels must lie in 0\.\.2 for 3 classes.*got 1099511627776",
    ),
    Bad("ignore_index is named", {Y: [2, 7], "ignore_index": -5}, r"\(or ignore_index=-5\), got 7"),
    Bad(
        "-100 where nothing is ignored",
        {Y: [2, -100]},
        r"labels must lie in 0\.\.2 for 3 classes, got -100",
        only=(*LISTWISE, "dkd_loss"),
    ),
    Bad("-100 with another ignore_index", {Y: [2, -100], "ignore_index": -5}, "got -100"),
    Bad(
        "float labels",
        {Y: [2.0, 0.0]},
        r"labels must be integer class indices, got dtype .*float64",
    ),
    Bad(
        "bool labels", {Y: [True, False]}, r"labels must be integer class indices, got dtype .*bool"
    ),
    Bad(
        "complex labels",
        {Y: [1j, 0j]},
        r"labels must be integer class indices, got dtype .*complex",
    ),
    Bad(
        "too few labels",
        {Y: [2]},
        r"labels must have one entry per row of logits, shape \(2,\), got shape \(1,\)",
    ),
    Bad(
        "one-hot labels",
        {Y: [[0, 0, 1], [1, 0, 0]]},
        r"labels must have one entry per row of logits, shape \(2,\), got shape \(2, 3\)",
    ),
    Bad(
        "one label for all",
        {Y: 2},
        r"labels must have one entry per row of logits, shape \(2,\), got shape \(\)",
    ),
    Bad(
        "one teacher row for all",
        {S: GOOD[S], T: GOOD[T][:1]},
        r"student_logits and teacher_logits must have the same shape, got \(2, 3\) and \(1, 3\)",
    ),
    Bad(
        "other class count",
        {S: GOOD[S], T: [[0.5, 2.0], [1.0, 0.0]]},
        r"same shape, got \(2, 3\) and \(2, 2\); nothing is broadcast",
    ),
    Bad("missing axis", {S: GOOD[S], T: GOOD[T][0]}, r"same shape, got \(2, 3\) and \(3,\)"),
    Bad(
        "no classes",
        {S: [[], []], T: [[], []]},
        r"student_logits must have shape \[\.\.\., C\] with C >= 1 classes, got shape \(2, 0\)",
    ),
    Bad(
        "no class axis",
        {S: 1.0, T: 1.0},
        r"student_logits must have shape \[\.\.\., C\].*got shape \(\)",
    ),
    Bad(
        "teacher without classes",
        {T: [[], []]},
        r"teacher_logits must have shape \[\.\.\., C\] with C >= 1 classes, got shape \(2, 0\)",
    ),
    Bad(
        "complex logits", {S: [[1j, 2.0, 3.0]] * 2}, r"student_logits must be .*got dtype .*complex"
    ),
    Bad(
        "bool logits", {S: [[True, False, True]] * 2}, r"student_logits must be .*got dtype .*bool"
    ),
    Bad(
        "bool teacher", {T: [[True, False, True]] * 2}, r"teacher_logits must be .*got dtype .*bool"
    ),
    *(
        Bad(
            f"temperature {tau!r}",
            {"temperature": tau},
            rf"temperature must be positive and finite, got {tau!r}",
        )
        for tau in (0, 0.0, -1.0, nan, inf)
    ),
    *(
        Bad(
            f"temperature {type(tau).__name__}",
            {"temperature": tau},
            f"temperature must be a number, got {type(tau).__name__}",
        )
        for tau in ("4", None, [1.0], 2j)
    ),
    *(
        Bad(
            f"reduction {how!r}",
            {"reduction": how},
            r"reduction must be one of \('mean', 'sum', 'none'\), got ",
            never=("dist_loss",),
        )
        for how in ("batchmean", "Mean", None, "")
    ),
    *(
        Bad(
            f"dist reduction {how!r}",
            {"reduction": how},
            rf'dist_loss is one value for a whole batch: reduction must be "mean", got {how!r}',
            only=("dist_loss",),
        )
        for how in ("none", "sum", "batchmean")
    ),
    Bad(
        "unknown weights",
        {"weights": "listmle"},
        r"weights must be one of \('teacher', 'label', 'one-hot', 'uniform', 'position'\)"
        ".*got 'listmle'",
    ),
    Bad(
        "negative weights",
        {"weights": [[1.0, 0.5, -0.1]] * 2},
        "weights must be finite and not negative",
    ),
    Bad(
        "nan weights", {"weights": [[1.0, nan, 0.1]] * 2}, "weights must be finite and not negative"
    ),
    Bad(
        "infinite weights",
        {"weights": [[1.0, inf, 0.1]] * 2},
        "weights must be finite and not negative",
    ),
    Bad(
        "weights of one row",
        {"weights": [1.0, 0.5, 0.1]},
        r"weights in rank order must have the shape of the logits, \(2, 3\), got \(3,\)",
    ),
    Bad(
        "weights of other classes",
        {"weights": [[1.0, 0.5]] * 2},
        r"weights in rank order must have the shape of the logits, \(2, 3\), got \(2, 2\)",
    ),
    Bad("bool weights", {"weights": [[True, False, False]] * 2}, "weights must be "),
]

# Rankings for log_likelihood: message by (scores, ranking, top).
BAD_LIKELIHOODS = [
    ([1.0, nan, 0.0], [0, 1], None, r"scores must be finite, got nan at index \[1\]"),
    ([1.0, 2.0, inf], [0, 1], None, r"scores must be finite, got inf at index \[2\]"),
    ([-inf, 2.0, 0.0], [0, 1], None, r"scores must be finite, got -inf at index \[0\]"),
    ([], [0], None, r"scores must have shape \[\.\.\., C\] with C >= 1 classes, got shape \(0,\)"),
    ([True, False], [0], None, "scores must be .*bool"),
    ([1.0, 2.0, 0.0], [0, 1, 0], None, "ranking must not repeat an item, got item 0 twice"),
    ([1.0, 2.0, 0.0], [[0, 1], [2, 2]], None, "ranking must not repeat an item, got item 2 twice"),
    ([1.0, 2.0, 0.0], [0, 3], None, r"ranking must hold items 0\.\.2, got 3"),
    ([1.0, 2.0, 0.0], [-1, 2], None, r"ranking must hold items 0\.\.2, got -1"),
    ([1.0, 2.0], [0, 1, 0], None, "ranking must "),
    ([1.0, 2.0], [0, 1, 2], None, "ranking must hold "),
    (
        [1.0, 2.0, 0.0],
        [0.0, 1.0],
        None,
        r"ranking must be integers \[\.\.\., K\], got dtype .*float",
    ),
    (
        [1.0, 2.0, 0.0],
        [True, False],
        None,
        r"ranking must be integers \[\.\.\., K\], got dtype .*bool",
    ),
    ([1.0, 2.0, 0.0], 1, None, r"ranking must be integers \[\.\.\., K\].*shape \(\)"),
    ([1.0, 2.0, 0.0], [0, 1], 0, r"top must lie in 1\.\.2, the length of the ranking, got 0"),
    ([1.0, 2.0, 0.0], [0, 1], 3, r"top must lie in 1\.\.2, the length of the ranking, got 3"),
    ([1.0, 2.0, 0.0], [0, 1], -1, r"top must lie in 1\.\.2, the length of the ranking, got -1"),
    ([1.0, 2.0, 0.0], [0, 1, 2], 1.5, "top must .*got 1.5"),
]


def functions(package: Any) -> list[str]:
    """The losses and derivatives that the package has."""
    names = (*LOSSES, "pld_gradient", "pld_hessian")
    return [name for name in names if hasattr(package, name)]


def takes(package: Any, function: str) -> list[str]:
    """Which of student_logits, teacher_logits and labels the function has."""
    return [
        name for name in GOOD if name in inspect.signature(getattr(package, function)).parameters
    ]


def as_given(package: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments as the package takes them; a name of weights stays as it is."""
    converted = dict(arguments)
    for name in (*GOOD, "weights"):
        value = converted.get(name)
        if package is not reference and value is not None and not isinstance(value, str):
            value = torch.tensor(value)
            converted[name] = value.double() if value.is_floating_point() else value
    return converted


def refused_calls(package: Any) -> list[tuple[str, str, dict, str]]:
    """(id, function, arguments, message) for each bad input and each loss that must refuse it."""
    calls = []
    for bad in BAD:
        for function in functions(package):
            takes = inspect.signature(getattr(package, function)).parameters
            if not set(bad.changes) <= set(takes):
                continue
            if function in bad.never or (bad.only and function not in bad.only):
                continue
            arguments = {k: v for k, v in (GOOD | bad.changes).items() if k in takes}
            calls.append((f"{function}: {bad.name}", function, arguments, bad.message))
    return calls
