"""What the formulas of all losses share: switches, blends with cross-entropy, gradients.

A loss of the family is a subclass of `Formula` in a file of its own; `family.LOSSES` lists them.
Every step works along the last axes, so that many cases of one shape can be computed at once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .cases import Case, Floats

Numbers = NDArray[Any]
Changes = dict[str, Any]
STEP = 1e-30

LOST = tuple({"log": x} for x in ("maximum lost", "maximum lost, detached"))
COMMON: dict[str, tuple[Changes, ...]] = {
    "sum-over-batch": ({"over_batch": "sum"},),
    "mean-over-batch": ({"over_batch": "mean"},),
    "divided-by-batch-twice": ({"over_batch": "twice"},),
    "mean-over-classes": ({"over_classes": "mean"},),
    "roles-swapped": ({"swapped": True},),
}


@dataclass(frozen=True)
class Formula:
    """A loss with a switch at each step that can go wrong; the default is the right loss.

    Its value is a sum of terms, each times a coefficient. Student logits may be complex, so that
    all gradients come from a complex step, ``Im L(s + i h) / h``: exact to rounding, without a
    derivation for each mistake.

    Attributes
    ----------
    name, title, source : str
        The option's value, the name in print, and the paper.
    terms : dict
        Coefficient (a field) to the term's name in print.
    free : tuple of str
        Coefficients that the caller may choose: they are found, the first ones positive.
    arguments : tuple of str
        What the function is called with, attributes of `Case`.
    needs_labels : bool
        Whether the last argument, the labels, is needed.
    rows : int
        Smallest batch.
    mistakes : dict
        Name of each mistake (its words are in `mistakes`) to the changes that make it.
    solved : dict
        Name of a mistake to a switch whose value is solved for, and to changes that go with it.
    remarks : frozenset
        Names that are conventions of this loss, not mistakes.
    blends : tuple of dict
        Ways to add cross-entropy that need no name of their own.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    terms: ClassVar[Mapping[str, str]]
    mistakes: ClassVar[Mapping[str, tuple[Changes, ...]]]
    free: ClassVar[tuple[str, ...]] = ()
    arguments: ClassVar[tuple[str, ...]] = ("student_logits", "teacher_logits", "labels")
    needs_labels: ClassVar[bool] = True
    rows: ClassVar[int] = 1
    solved: ClassVar[Mapping[str, tuple[str, tuple[Changes, ...]]]] = {}
    remarks: ClassVar[frozenset[str]] = frozenset()
    blends: ClassVar[tuple[Changes, ...]] = ({}, {"ce_reduced": "alike"})

    over_batch: str = "mean"  # or "sum", "twice", "none"
    over_classes: str = "sum"  # or "mean"
    tau_power: int = 0
    temperature: float | None = None  # a fixed one instead of the caller's
    swapped: bool = False  # student and teacher exchanged
    label_from: str = "data"  # or "teacher": its favourite class
    clip: float = np.inf  # largest student logit that counts
    log: str = "exact"  # or another way to the logarithm of a probability
    eps: float = 0.0
    padding: tuple[str, Any] | None = None  # see `padded`
    factor: float = 1.0
    ce: float = 0.0  # coefficient of cross-entropy
    ce_reduced: str = "apart"  # or "alike", "multiplied": by the power of the temperature too
    ce_softened: bool = False  # of s / tau

    @property
    def possible(self) -> bool:
        """False for changes that cannot be made together."""
        return True

    @property
    def coefficients(self) -> tuple[float, ...]:
        """Of the terms, in their order."""
        return tuple(getattr(self, term) for term in self.terms)

    @property
    def words(self) -> str:
        """The terms with their coefficients, such as "0.1 CE + 0.9 T^2 KL"."""
        names = {t: n.removeprefix("T^2 " * (self.tau_power != 2)) for t, n in self.terms.items()}
        used = [(a, names[t]) for t in reversed(names) if (a := getattr(self, t))]
        text = " + ".join(f"{a:.4g} {name}".removeprefix("1 ") for a, name in used) or "0"
        return text if self.temperature is None else f"{text} at T = {self.temperature:.4g}"

    def value(self, case: Case, s: Numbers | None = None, keys: Floats | None = None) -> Numbers:
        """Value on a case: [...], or [..., N] without reduction.

        `s` [..., N, C], real or complex, stands in for the student's logits; `keys` [N, C] are
        sorted instead of the teacher's logits, to break ties in another way.
        """
        parts = self.parts(case, s, keys, (term for term in self.terms if getattr(self, term)))
        shape = (case.student_logits if s is None else s).shape
        zero = np.zeros(shape[:-1] if self.over_batch == "none" else shape[:-2])
        return sum((getattr(self, term) * part for term, part in parts.items()), zero)

    def gradient(self, case: Case, keys: Floats | None = None) -> Floats:
        """Gradient [N, C] of the (summed, if not reduced) value in the student's logits."""
        n, c = case.student_logits.shape
        bumps = 1j * STEP * np.eye(n * c).reshape(n * c, n, c)
        value = self.value(case, case.student_logits + bumps, keys)
        total = value.sum(axis=-1) if self.over_batch == "none" else value
        return total.imag.reshape(n, c) / STEP  # dL/ds_i = Im L(s + i h e_i) / h

    def parts(
        self,
        case: Case,
        s: Numbers | None = None,
        keys: Floats | None = None,
        terms: Iterable[str] | None = None,
    ) -> dict[str, Numbers]:
        """Some terms of the loss, or all, without their coefficients."""
        given: tuple[Numbers, Numbers]
        given = case.student_logits if s is None else s, case.teacher_logits
        s, t = given[::-1] if self.swapped else given
        if np.any(np.isfinite(self.clip)):
            s = np.where(abs(s.real) > self.clip, np.copysign(self.clip, s.real), s)
        if keys is None or self.swapped:
            keys = case.student_logits if self.swapped else case.teacher_logits
        y = case.labels if self.label_from == "data" else keys.argmax(axis=-1)
        tau = case.temperature if self.temperature is None else self.temperature
        made = replace(case, student_logits=s, teacher_logits=t, labels=y, temperature=tau)
        with np.errstate(all="ignore"):
            return {term: self.part(term, made, keys) for term in terms or self.terms}

    def part(self, term: str, case: Case, keys: Floats) -> Numbers:
        """One term of the loss on a case whose student's logits may be complex."""
        raise NotImplementedError

    def shares(self, case: Case) -> dict[str, float]:
        """How much of each published answer of a case the right loss holds; {} if unpublished."""
        raise NotImplementedError

    def details(self, case: Case) -> dict[str, Floats]:
        """The steps of the first row of a case, to compare with."""
        raise NotImplementedError

    def describe(self, name: str) -> str | None:
        """What to say of a mistake in this variant; None for the usual sentence."""
        match name:
            case "constant-factor":
                return f"{self.factor:.6g} times what it should be, in every case."
            case "log-base":
                base = round(float(np.exp(1 / self.factor)))
                return f"{self.factor:.4f} = 1/ln {base} times: logarithms to base {base}."
            case "temperature-fixed" if self.temperature is not None:
                return f"The temperature is {self.temperature:.4g}, whatever was asked for."
            case "clamp" if np.isfinite(self.clip):
                return f"Student logits end at {self.clip:.4g} in size."
            case "padding-counted" if self.padding:
                kind, number = self.padding
                what = {"extra": f"{number} more classes", "length": f"classes up to {number}"}
                what |= {"multiple": f"classes up to the next multiple of {number}"}
                return f"Padding counts: {what[kind]}, each with logit 0, stand in the sums."
        return None

    def cross_entropy(self, case: Case, softened: Numbers) -> Numbers:
        """``log sum_c exp(s_c) - s_y``, averaged as it should be or reduced like the rest."""
        log_p = log_softmax(softened if self.ce_softened else case.student_logits)
        rows = -at_label(log_p, case.labels)
        if self.ce_reduced == "apart":
            return reduce(rows, "none" if self.over_batch == "none" else "mean")
        return self.reduce(rows, case, power=self.ce_reduced == "multiplied")

    def reduce(
        self, rows: Numbers, case: Case, classes: int | None = None, *, power: bool = True
    ) -> Numbers:
        """Rows [..., N] to the value of a term."""
        if self.over_classes == "mean":
            rows = rows / (classes or case.student_logits.shape[-1])
        tau = np.asarray(case.temperature)
        tau = tau[..., 0] if tau.ndim else tau
        return reduce(rows * tau**self.tau_power if power else rows, self.over_batch)

    def padded(self, classes: int) -> Any:
        """How many classes of logit 0 are counted beside the given ones."""
        match self.padding:
            case None:
                return 0.0
            case "multiple", number:
                return float(-classes % number)
            case "length", number:
                return float(max(number - classes, 0))
        return self.padding[1]


def reduce(rows: Numbers, how: str) -> Numbers:
    """Mean over the last axis, or another of `Formula.over_batch`."""
    if how == "none":
        return rows
    total: Numbers = rows.sum(axis=-1)
    return total if how == "sum" else total / rows.shape[-1] ** (2 if how == "twice" else 1)


def log_softmax(x: Numbers, axis: int = -1, padding: Any = 0.0) -> Numbers:
    """``x_c - log(sum_l exp(x_l) + padding)``, for complex numbers too."""
    largest = x.real.max(axis=axis, keepdims=True)
    if np.any(padding):
        largest = np.maximum(largest, 0.0)
    x = x - largest
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True) + padding * np.exp(-largest))


def softmax(x: Numbers, axis: int = -1) -> Numbers:
    """Probabilities, for complex numbers too."""
    return np.exp(log_softmax(x, axis))


def gather(x: Numbers, pi: NDArray[np.int64]) -> Numbers:
    """Classes [..., N, C] in rank order [..., N, K]: x[pi_k]."""
    return np.take_along_axis(x, np.broadcast_to(pi, (*x.shape[:-1], pi.shape[-1])), -1)


def at_label(x: Numbers, y: NDArray[np.int64]) -> Numbers:
    """Entry of each row's label [..., N]."""
    return gather(x, y[..., None])[..., 0]


def standardise(x: Numbers) -> Numbers:
    """Mean 0 and std 1 over the classes."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True))
