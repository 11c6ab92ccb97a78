"""Which changes to the right loss give the numbers that came?

A change that a mistake makes is *loud* if it shows in the simplest cases (one row, temperature 1)
and *silent* if it needs a batch, a temperature or more classes. Sets of loud changes are tried on
the simplest cases alone, all of them at once; to a set that gives their numbers silent changes are
added until every case agrees. So three mistakes together are found in a second. Coefficients come
from least squares, and values such as a fixed temperature or an eps are solved for.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np

from .cases import Case, Floats
from .compare import CheckedCase
from .formula import Changes

ENOUGH = 4  # Cases a variant must reproduce before it counts as an explanation.
SMALL = 16  # Logits in a case up to which gradients of candidates are compared too.
MOST = 3  # mistakes at once
NEAR_ZERO = 1e-4  # A coefficient so much smaller than the largest is none.
FACTORS = {-1.0: "sign-flipped", 1 / math.log(2): "log-base", 1 / math.log(10): "log-base"}
EXTRA = {"ce": "extra-cross-entropy", "kd": "extra-kd"}
ROUNDS, POINTS = 6, 40  # of the search for a value
SHORT = 1e-11  # How much worse, in squares, a value with fewer digits may fit.
GRIDS = {
    "eps": np.geomspace(1e-9, 0.5, POINTS),
    "temperature": np.geomspace(0.02, 100.0, POINTS),
    "weight_temperature": np.geomspace(0.02, 100.0, POINTS),
    "padding": np.arange(1.0, 1025.0),
}

Set = tuple[tuple[str, Changes], ...]  # changes, each with the name of its mistake
Candidate = tuple[Any, Set, tuple[str, ...]]  # variant, changes, names of what coefficients show


@dataclass(frozen=True)
class Found:
    """A loss that gives the numbers; its mistakes; the right loss with the same coefficients."""

    variant: Any
    names: tuple[str, ...]
    right: Any


class Stack:
    """Cases of one shape, computed at once."""

    def __init__(self, checked: Sequence[CheckedCase], limit: float = np.inf) -> None:
        inputs = ("student_logits", "teacher_logits", "labels")
        piled: dict[str, Any] = {
            name: np.stack([getattr(c.case, name) for c in checked]) for name in inputs
        }
        tau: Any = np.array([c.case.temperature for c in checked])[:, None, None]
        self.case: Case = replace(checked[0].case, **piled, temperature=tau)
        self.got: Floats = np.stack([c.got for c in checked])
        self.limit = limit
        shape = (-1, *(1,) * (self.got.ndim - 1))
        self.absolute, self.relative = (
            np.reshape([c.allowed[i] for c in checked], shape) for i in (0, 1)
        )

    def agrees(self, variant: Any, slack: float) -> bool:
        """Whether the variant gives the numbers that came, within rounding for their size."""
        value = variant.value(self.case).real
        with np.errstate(all="ignore"):
            size = min(sum(map(abs, variant.coefficients)), self.limit)
            size = np.maximum(size, np.abs(value))
            allowed = slack * (self.absolute * size + self.relative * np.abs(value))
            return bool((np.abs(value - self.got) <= allowed).all())


class Search:
    """The search among the variants of the right loss `right` in plain cases."""

    def __init__(self, right: Any, plain: Sequence[CheckedCase], slack: float) -> None:
        self.right, self.slack = right, slack
        self.plain = sorted((c for c in plain if len(c.case.labels) >= right.rows), key=_dull)
        self.small = [c for c in self.plain if c.case.size <= SMALL]
        groups: dict[Any, list[CheckedCase]] = {}
        for c in self.plain:
            if "ties" not in c.flags:
                groups.setdefault((c.case.student_logits.shape, c.case.temperature), []).append(c)
        simple = min((rows, tau != 1.0) for (rows, _), tau in groups) if groups else None
        many = [g for g in groups if len(groups[g]) >= ENOUGH]
        best = max(
            many, key=lambda g: ((g[0][0], g[1] != 1.0) == simple, len(groups[g])), default=None
        )
        largest = max((float(np.abs(c.got).max()) for c in self.plain), default=0.0)
        self.first = [Stack(cs, largest) for g, cs in groups.items() if best in (g, None)]
        self.others = [Stack(cs, largest) for g, cs in groups.items() if best not in (g, None)]
        self.got = np.concatenate([s.got.ravel() for s in self.first]) if groups else np.zeros(0)
        taus = {c.case.temperature for c in self.plain}
        self.unknown_tau = bool(right.free) and taus == {1.0}

    def level(self, number: int) -> Found | None:
        """The likeliest explanation with so many mistakes; one that fits gradients if possible."""
        fallback = None
        for variant, changes, extra in self._candidates(number) if self._enough else ():
            if all(c.reproduced_by(variant, slack=self.slack, gradients=False) for c in self.plain):
                names = (*(name for name, _ in changes), *extra)
                found = Found(variant, names, self._settled(variant, changes))
                if all(c.reproduced_by(variant, slack=self.slack) for c in self.small):
                    return found
                fallback = fallback or found
        return fallback

    @property
    def _enough(self) -> bool:
        return len(self.plain) >= ENOUGH and self.got.size > 0

    def _candidates(self, number: int) -> Iterator[Candidate]:
        """Variants with so many mistakes that agree with all cases but those with ties."""
        for loud in range(number, -1, -1):
            for variant, changes, extra in self._survivors(loud):
                left = number - loud - len(extra)
                for more in _sets(self._silent, left) if left >= 0 else ():
                    merged = _merged(changes + more)
                    if merged is not None:
                        yield from self._finished(variant, changes + more, extra)
                if left == 1:
                    for cut in self._ranks(variant):
                        yield from self._finished(variant, (*changes, cut), extra)

    def _finished(self, variant: Any, changes: Set, extra: tuple[str, ...]) -> Iterator[Candidate]:
        for blend in self.right.blends if variant.ce else ({},):
            complete = replace(variant, **{**(_merged(changes) or {}), **blend})
            if complete.possible and all(s.agrees(complete, self.slack) for s in self.others):
                yield complete, changes, extra

    @cached_property
    def _singles(self) -> tuple[list[Set], list[Set]]:
        """Loud and silent changes."""
        loud: list[Set] = []
        silent: list[Set] = []
        usual = self._columns(self.right)
        for name, listed in self.right.mistakes.items():
            for changes in listed if name not in self.right.solved or name == "truncated" else ():
                variant = replace(self.right, **changes)
                if variant == self.right or set(changes) & set(self.right.terms):
                    continue
                same = np.allclose(self._columns(variant), usual, rtol=1e-9, atol=1e-12)
                (silent if same else loud).append(((name, changes),))
        return loud, silent

    @property
    def _silent(self) -> list[Set]:
        return self._singles[1]

    def _survivors(self, loud: int) -> list[Candidate]:
        """Sets of so many loud changes that give the numbers of the simplest cases."""
        if loud not in self._kept:
            self._kept[loud] = list(self._survive(loud))
        return self._kept[loud]

    @cached_property
    def _kept(self) -> dict[int, list[Candidate]]:
        return {}

    def _survive(self, loud: int) -> Iterator[Candidate]:
        for changes in _sets(self._singles[0], loud):
            variant = self._variant(changes)
            if variant is not None:
                if self.unknown_tau and loud < MOST:
                    variant = self._solved(variant, "temperature")
                yield from self._fitted(variant, changes, exactly=loud == MOST)
        for changes in _sets(self._singles[0], loud - 1) if 0 < loud < MOST else ():
            for change in self._solvable(changes):
                variant = self._variant((*changes, change))
                if variant is not None:
                    yield from self._fitted(variant, (*changes, change), exactly=True)

    def _solvable(self, changes: Set) -> Iterator[tuple[str, Changes]]:
        """Changes with a value that fits best beside other changes."""
        for name, (field, ways) in self.right.solved.items():
            # Beside other mistakes an eps is looked for later, where it shows most.
            left_out = {"eps": bool(changes), "temperature": self.unknown_tau}
            for way in ways if field in GRIDS and not left_out.get(field) else ():
                variant = self._variant((*changes, (name, {**way, field: None})))
                if variant is not None:
                    for value in self._values(variant, field):
                        yield name, {**way, field: value}

    def _variant(self, changes: Set) -> Any:
        """The right loss with these changes; None if they exclude each other."""
        merged = _merged(changes)
        if merged is None:
            return None
        variant = replace(self.right, **merged)
        return variant if variant.possible else None

    def _columns(self, variant: Any) -> Floats:
        """Terms of a variant in the simplest cases [T, k]."""
        parts = [variant.parts(s.case) for s in self.first]
        columns = [np.concatenate([p[t].real.ravel() for p in parts]) for t in variant.terms]
        return np.stack(columns)

    def _fitted(self, variant: Any, changes: Set, exactly: bool) -> Iterator[Candidate]:
        """The variant with its coefficients, if there are any that give the numbers."""
        if not variant.free:
            if all(s.agrees(variant, self.slack) for s in self.first):
                yield variant, changes, ()
                return
            if exactly:
                return
        columns = self._columns(variant)
        if not np.isfinite(columns).all() or self.got.size < len(columns) + 2:
            return
        scale = np.abs(self.got) + 0.1 * np.abs(self.got).mean() + 1e-300
        for terms in _term_sets(variant):
            chosen = [i for i, term in enumerate(variant.terms) if term in terms]
            a, *_ = np.linalg.lstsq((columns[chosen] / scale).T, self.got / scale, rcond=1e-10)
            found = dict.fromkeys(variant.terms, 0.0) | dict(zip(terms, map(float, a), strict=True))
            made = replace(variant, **found)
            if all(s.agrees(made, self.slack) for s in self.first):
                made = self._rounded(made)
                yield made, changes, _coefficient_names(made, columns)
                return

    def _rounded(self, variant: Any) -> Any:
        """Coefficients with three digits if they give the numbers as well."""
        short = replace(variant, **{t: float(f"{getattr(variant, t):.3g}") for t in variant.terms})
        return short if all(s.agrees(short, self.slack) for s in self.first) else variant

    def _values(self, variant: Any, field: str) -> list[Any]:
        """Values of a switch that are worth a try: the best one, and rules that give it."""
        value = getattr(self._solved(variant, field), field)
        if field != "padding":  # A temperature of 1 has a name of its own.
            return [value] if value != 1.0 else []
        n, classes = int(value[1]), self.first[0].case.student_logits.shape[-1]
        multiples = [m for m in range(n + 1, n + classes + 1) if -classes % m == n]
        return [*(("multiple", m) for m in multiples), ("length", classes + n), ("extra", n)]

    def _solved(self, variant: Any, field: str) -> Any:
        return solved(variant, field, GRIDS[field], self.first)

    def _ranks(self, variant: Any) -> Iterator[tuple[str, Changes]]:
        """Cuts of the list or the sum that show with many classes only."""
        if "truncated" not in self.right.solved or variant.top is not None:
            return
        stack = max((*self.first, *self.others), key=lambda s: s.case.student_logits.shape[-1])
        for way in self.right.solved["truncated"][1]:
            for top in range(4, stack.case.student_logits.shape[-1]):
                changes = {**way, "top": top}
                if stack.agrees(replace(variant, **changes), self.slack):
                    yield "truncated", changes

    def _settled(self, variant: Any, changes: Set) -> Any:
        """The right loss in the caller's coefficients and conventions."""
        right = self.right
        for name, change in changes:
            right = replace(right, **change) if name in right.remarks else right
        if right.free:
            found = {t: abs(getattr(variant, t)) for t in right.terms}
            right = replace(right, **found)
        return replace(right, temperature=variant.temperature) if self.unknown_tau else right


def solved(
    variant: Any, field: str, grid: Floats, stacks: Sequence[Stack], *, fit: bool = True
) -> Any:
    """The variant with the value of a switch that fits best, from ever finer grids."""

    def value_of(x: Any) -> Any:
        return ("extra", x) if field == "padding" else x

    for _ in range(1 if field == "padding" else ROUNDS):
        tried = replace(variant, **{field: value_of(grid[:, None, None, None])})
        misfit = np.nan_to_num(_misfit(tried, stacks, fit), nan=np.inf)
        at = int(misfit.argmin())
        best = grid[at]
        if field != "padding":
            grid = np.geomspace(grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)], POINTS)
    short = [float(f"{best:.{digits}g}") for digits in (1, 2, 3)]
    made = [replace(variant, **{field: value_of(value)}) for value in (*short, float(best))]
    return next((m for m in made if _misfit(m, stacks, fit) < misfit.min() + SHORT), made[-1])


def _misfit(variant: Any, stacks: Sequence[Stack], fit: bool) -> Floats:
    """Sum of squared relative errors; coefficients that are free are fitted if asked for."""
    fit = fit and bool(variant.free)
    terms = [t for t in variant.terms if fit or getattr(variant, t)]
    got = np.concatenate([s.got.ravel() for s in stacks])
    scale = np.abs(got) + 0.1 * np.abs(got).mean() + 1e-300
    parts = [variant.parts(s.case, terms=terms) for s in stacks]
    flat = [[np.reshape(p[t].real, (*p[t].shape[:-1][: p[t].ndim - s.got.ndim], -1))
             for p, s in zip(parts, stacks, strict=True)] for t in terms]  # fmt: skip
    lead = np.broadcast_shapes(*(x.shape[:-1] for column in flat for x in column))
    columns = np.stack(
        [np.concatenate([np.broadcast_to(x, (*lead, x.shape[-1])) for x in c], -1) for c in flat],
        -1,
    )
    x, y = columns / scale[:, None], got / scale
    with np.errstate(all="ignore"):
        if fit:
            x = np.nan_to_num(x, nan=1e9, posinf=1e9, neginf=-1e9)
            a = np.einsum("...tk,k->...t", np.linalg.pinv(x, rcond=1e-10), y)
        else:
            a = np.array([getattr(variant, t) for t in terms])
        return np.asarray(((np.einsum("...kt,...t->...k", x, a) - y) ** 2).sum(axis=-1))


def _coefficient_names(variant: Any, columns: Floats) -> tuple[str, ...]:
    """What is wrong with the coefficients of the terms."""
    shares = np.array(variant.coefficients) * np.abs(columns).max(axis=-1)
    main = [s for s, t in zip(shares, variant.terms, strict=True) if t not in EXTRA]
    if max(map(abs, main)) <= NEAR_ZERO * abs(shares).max():
        return ("cross-entropy-only",)
    if variant.free:
        missing = min(map(abs, main)) <= NEAR_ZERO * abs(shares).max()
        flipped = min(shares) < -NEAR_ZERO * abs(shares).max()
        return ("part-missing",) * int(missing) + ("sign-flipped",) * int(flipped)
    extra = tuple(EXTRA[t] for t in variant.terms if t in EXTRA and getattr(variant, t))
    if extra or variant.factor == 1.0:
        return extra
    near = [name for b, name in FACTORS.items() if math.isclose(variant.factor, b, rel_tol=1e-4)]
    return (*near, "constant-factor")[:1]


def _term_sets(variant: Any) -> list[tuple[str, ...]]:
    """Terms to fit, fewer first; of a loss with two parts both."""
    main = tuple(t for t in variant.terms if t not in EXTRA)
    extra = [t for t in variant.terms if t in EXTRA]
    return [(*main, *some) for n in range(len(extra) + 1) for some in combinations(extra, n)]


def _sets(singles: Sequence[Set], number: int) -> Iterator[Set]:
    """Sets of so many changes that belong to different mistakes."""
    for chosen in combinations(singles, number):
        changes = tuple(pair for one in chosen for pair in one)
        if len({name for name, _ in changes}) == number:
            yield changes


def _merged(changes: Set) -> Changes | None:
    """All changes as one; None if two touch the same switch."""
    merged: Changes = {}
    for _, change in changes:
        if merged.keys() & change.keys():
            return None
        merged |= change
    return merged


def _dull(c: CheckedCase) -> tuple[bool, bool, bool]:
    """Cases that tell most mistakes apart come first: they end a comparison early."""
    rows, classes = c.case.student_logits.shape
    return c.case.temperature == 1.0, rows == 1, not 3 <= classes <= 12
