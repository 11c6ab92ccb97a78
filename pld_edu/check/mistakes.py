"""The known mistakes: a name, what is wrong, how to mend it, and what it does to the recipe.

A mistake may have several variants (an eps can sit in three places). Those without variants are
recognised by other signs than the loss's value: see `numerics` and `diagnose`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from .recipes import Recipe

EPSILONS = (2.0**-23, *(10.0**-k for k in range(3, 17)), 2.0**-52)
EPS_PLACES = ("sum", "attached sum", "raw sum", "probability", "clamp")


@dataclass(frozen=True)
class Mistake:
    """One way to get PLD wrong."""

    name: str
    sentence: str
    fix: str
    variants: tuple[dict[str, Any], ...] = ()

    def recipes(self, base: Recipe) -> Iterator[Recipe]:
        """`base` with this mistake in it, in each of its variants."""
        for variant in self.variants:
            yield replace(base, **variant)


FORMULA = (
    Mistake(
        "sum-over-batch",
        "N times the mean, so 3.0 times for 3 rows: summed over the batch.",
        "Average over the batch: .mean() over the rows, not .sum().",
        ({"over_batch": "sum"},),
    ),
    Mistake(
        "mean-over-batch",
        "The rows are averaged where a sum was asked for.",
        'Sum the rows, or ask the checker for reduction="mean".',
        ({"over_batch": "mean"},),
    ),
    Mistake(
        "divided-by-batch-twice",
        "The batch mean is divided by the batch size once more.",
        "Divide by the number of rows once.",
        ({"over_batch": "twice"},),
    ),
    Mistake(
        "mean-over-classes",
        "The choices are averaged over the classes, not added up: too small by 1/C.",
        "Sum over the class axis; only the batch axis is averaged.",
        ({"over_classes": "mean"},),
    ),
    Mistake(
        "sum-over-classes",
        "The choices are added up: too large by C.",
        "Divide by the number of classes.",
        ({"over_classes": "sum"},),
    ),
    Mistake(
        "label-not-first",
        "The ranking is the teacher's own: the label is not moved to rank 1.",
        "Put the label first, then the other classes by descending teacher logit.",
        ({"label": "sorted"},),
    ),
    Mistake(
        "tail-ascending",
        "After the label the classes come by ascending teacher logit.",
        "Sort the other classes in descending order, the teacher's favourite first.",
        ({"direction": "ascending"},),
    ),
    Mistake(
        "label-last",
        "The label stands at the wrong end: last, where the sums run over the later ranks.",
        "Put it first; if you sort ascending and sum from the front, put it last.",
        ({"label": "last"},),
    ),
    Mistake(
        "label-twice",
        "The label is put first but not taken out of the rest: it is ranked twice.",
        "Remove the label from the others before the two parts are joined.",
        ({"label": "twice"},),
    ),
    Mistake(
        "label-missing",
        "The label is not ranked, or its term is left out of the sum.",
        "Put the label at rank 1, and let the sum start there.",
        ({"label": "absent"},),
    ),
    Mistake(
        "order-by-student",
        "The classes are ordered by the student's logits, not by the teacher's.",
        "Sort the teacher's logits and gather the student's by that order.",
        ({"sort_by": "student"},),
    ),
    Mistake(
        "not-sorted",
        "After the label the classes stay in the order of their index.",
        "Sort the other classes by descending teacher logit.",
        ({"sort_by": "class"},),
    ),
    Mistake(
        "inverse-permutation",
        "Ranks are used where classes are wanted: the inverse of the ranking.",
        "Gather with argsort(t) itself: it holds the class at each rank.",
        ({"gather": "inverse"},),
    ),
    Mistake(
        "prefix-sums",
        "The log-sum-exp at rank k runs over the ranks up to k, not from k on.",
        "Flip, logcumsumexp, flip back: the sum at rank k is over all later ranks.",
        ({"tail": "earlier"},),
    ),
    Mistake(
        "full-softmax",
        "Every choice is made among all classes: soft cross-entropy, not a ranking.",
        "Sum over the ranks k and later only: a class once chosen is gone.",
        ({"tail": "all"},),
    ),
    Mistake(
        "tail-excludes-self",
        "The sum at rank k starts at rank k+1: the chosen class is not among the choices.",
        "Start the sum at rank k itself.",
        ({"tail": "strictly later"},),
    ),
    Mistake(
        "weights-not-permuted",
        "The teacher's probabilities are used in class order, the losses are in rank order.",
        "Gather the probabilities by the same ranking as the logits.",
        ({"weights_order": "class"},),
    ),
    Mistake(
        "weights-sorted",
        "The weights are sorted by size, but the label's weight belongs to rank 1.",
        "Gather the probabilities by the ranking, label first; do not sort them.",
        ({"weights_order": "sorted"},),
    ),
    Mistake(
        "weights-reversed",
        "The weights run from the last rank to the first.",
        "Flip the weights and the losses together, or neither.",
        ({"weights_order": "reversed"},),
    ),
    Mistake(
        "uniform-weights",
        "Every choice weighs the same: this is ListMLE.",
        "Weigh the choice at rank k by the teacher's probability of the class there.",
        ({"weights": "uniform"}, {"weights": "ones"}),
    ),
    Mistake(
        "teacher-weights",
        "The choices are weighted by the teacher's probabilities: this is PLD, not ListMLE.",
        'Drop the weights, or ask the checker for weights="teacher".',
        ({"weights": "teacher"},),
    ),
    Mistake(
        "position-weights",
        "The weights depend on the rank alone, 2^(C-k) - 1: this is P-ListMLE.",
        "Drop them: PLD weighs by the teacher's probability of the class, ListMLE by 1.",
        ({"weights": "position"},),
    ),
    Mistake(
        "renormalised-tail",
        "The label weighs 1 and the other weights are rescaled to sum to 1.",
        "Take softmax(t / tau) as it is, for the label too.",
        ({"weights": "renormalised tail"},),
    ),
    Mistake(
        "label-weight-one",
        "The label weighs 1, not the teacher's probability of it.",
        "Take softmax(t / tau) as it is, for the label too.",
        ({"weights": "label one"},),
    ),
    Mistake(
        "label-term-only",
        "Only the first choice counts: weighted cross-entropy.",
        "Sum over all ranks.",
        ({"weights": "label only"},),
    ),
    Mistake(
        "cross-entropy-only",
        "This is plain cross-entropy; the teacher plays no part.",
        "Sum over all ranks, each weighted by the teacher's probability.",
        ({"weights": "one-hot"},),
    ),
    Mistake(
        "truncated",
        "Only the first ranks count; the rest of the ranking is dropped.",
        "Sum over all ranks.",
        tuple({"top": k, "cut": cut} for k in (2, 3, 5, 10) for cut in (False, True)),
    ),
    Mistake(
        "student-weights",
        "The weights come from the student's softmax.",
        "Weigh by softmax(teacher_logits / tau).",
        ({"weights": "student, detached"}, {"weights": "student"}),
    ),
    Mistake(
        "weights-without-softmax",
        "The teacher's logits (or log-probabilities) themselves are the weights.",
        "Weigh by softmax(t / tau).",
        ({"weights": "logits"}, {"weights": "log"}),
    ),
    Mistake(
        "softmax-over-batch",
        "The teacher's softmax runs over the batch axis.",
        "Take the softmax over the class axis: dim=-1.",
        ({"weights": "over batch"},),
    ),
    Mistake(
        "student-temperature",
        "The student's logits are divided by the temperature too.",
        "Divide the teacher's logits in the weights, and nothing else.",
        ({"student_temperature": True},),
    ),
    Mistake(
        "temperature-ignored",
        "The temperature changes nothing.",
        "Weigh by softmax(t / tau).",
        ({"weight_temperature": "ignored"},),
    ),
    Mistake(
        "temperature-inverted",
        "The teacher's logits are multiplied by the temperature.",
        "Divide: softmax(t / tau).",
        ({"weight_temperature": "inverse"},),
    ),
    Mistake(
        "temperature-fixed",
        "The weights have a temperature of their own, whatever was asked for.",
        "Weigh by softmax(t / tau) with the caller's tau (1 where there is none).",
        tuple({"weight_temperature": k} for k in (0.5, 1.5, 2.0, 3.0, 4.0, 5.0, 8.0, 10.0)),
    ),
    Mistake(
        "temperature-squared",
        "The loss is multiplied by the temperature squared, as in KD.",
        "Drop the factor: in PLD the temperature touches the weights only.",
        ({"tau_power": 2},),
    ),
    Mistake(
        "temperature-factor",
        "The loss is multiplied or divided by a power of the temperature.",
        "Drop the factor: in PLD the temperature touches the weights only.",
        ({"tau_power": 1}, {"tau_power": -1}, {"tau_power": -2}),
    ),
    Mistake(
        "extra-cross-entropy",
        "Cross-entropy is added; PLD holds its label term already.",
        "Return the PLD term alone.",
        ({"extra": "ce in rows"}, {"extra": "ce after"}, {"extra": "ce of scaled"}),
    ),
    Mistake(
        "extra-kd",
        "KD's term, tau^2 KL(teacher || student), is added.",
        "Return the PLD term alone.",
        ({"extra": "kl after"},),
    ),
    Mistake(
        "student-softmaxed",
        "The student's probabilities are used as if they were logits.",
        "Give the loss raw logits, or log-probabilities.",
        ({"student": "softmax"},),
    ),
    Mistake(
        "standardised-logits",
        "Logits are standardised (mean 0, deviation 1) before the loss.",
        "Use the logits as they are.",
        (
            {"student": "standardised"},
            {"weights": "standardised"},
            {"student": "standardised", "weights": "standardised"},
        ),
    ),
    Mistake(
        "no-logarithm",
        "The probabilities are added up, not their logarithms.",
        "Sum -log p_k.",
        ({"log": "no log"},),
    ),
    Mistake(
        "eps-in-log",
        "A small constant inside the logarithm, or a clamp, drowns unlikely choices.",
        "Drop it and use logcumsumexp: the argument is never 0 that way.",
        tuple({"log": where, "eps": eps} for where in EPS_PLACES for eps in EPSILONS),
    ),
)
