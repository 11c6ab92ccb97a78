"""Exercises for notebook 10: what a control takes away, and a comparison with one difference."""

from itertools import pairwise, product
from typing import Any

from .calling import NotYet
from .kinds import Code, Values, wrong

LABEL_OR_ORDER = Values(
    heading="10.1 label or order? · warm-up · 6 minutes",
    right={"share": 0.29 / 0.52, "fair_lead": 0.28},
    rtol=0.2,
    hint="All bars count from KD without the label. Which bars differ in the label alone?",
    praise="Half of the lead is the label's doing, and against a KD that sees it, a third is left.",
    mistakes=(
        wrong("share-of-the-label", share=0.23 / 0.52)(
            "This share is lost without the label.", "Asked is what the order keeps."
        ),
        wrong("unfair-rival", fair_lead=0.52)(
            "This is the lead over a KD that never saw a label.", "Which KD has seen what PLD saw?"
        ),
    ),
)

Run = tuple[str, bool, int]
FIRST: Run = ("KD", False, 1)
LAST: Run = ("PLD", True, 4)


def _test_path(answer: Any) -> str | None:
    """Whether two runs lead from FIRST to LAST, changing one thing at each step."""
    runs = [tuple(run) for run in answer] if isinstance(answer, tuple | list) else []
    known = list(product(("KD", "PLD"), (False, True), (1, 4)))
    if len(runs) != 2 or not all(run in known for run in runs):
        raise NotYet('  Hand in two runs such as ("KD", False, 4): loss, sees the label, tau.')
    path = [FIRST, *runs, LAST]
    changes = [sum(a != b for a, b in zip(x, y, strict=True)) for x, y in pairwise(path)]
    return "run-twice" if 0 in changes else None if max(changes) == 1 else "two-things-at-once"


ONE_THING = Code(
    heading="10.2 one thing at a time · core · 10 minutes",
    test=_test_path,
    praise="Three steps, three reasons, and their differences add up to the whole lead. There are "
    "six such paths; if two of them disagree, the reasons work together.",
    mistakes=(
        wrong("run-twice", (FIRST, ("KD", True, 4)))(
            "Two runs in a row are the same.", "Two new runs can be paid for: use both."
        ),
        wrong("two-things-at-once", (("PLD", True, 1), ("KD", True, 1)))(
            "From one run to the next, two things change.", "Change the loss, the label or tau."
        ),
    ),
)

EXERCISES = (LABEL_OR_ORDER, ONE_THING)
