"""The kinds of exercises: values, own words with a checklist, and code.

All work as the checker does, with its engine: compare with the right answer; if it differs, look
for the known mistake that gives the same answer. The variants of a mistake are wrong answers.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from pld_edu.check import engine
from pld_edu.check.engine import Mistake, as_array, same

from .calling import NoAnswer, NotYet, call, is_blank, short, shown, wrapped


def wrong(name: str, *answers: Any, **values: Any) -> Callable[..., Mistake]:
    """A mistake, without its sentence and hint: ``wrong("sign", -3.0)("It is minus x.", "Up?")``.

    It is shown by each of the wrong `answers`, or by the `values` that it changes.
    """
    return partial(Mistake, name, variants=answers or ((values,) if values else ()))


def wrong_options(**why: str) -> tuple[Mistake, ...]:
    """One mistake per option of a set: it is taken in, or left out, wrongly."""
    return tuple(wrong(f"wrong-about-{option}", option)(why[option]) for option in why)


def explain(mistake: Mistake, hint: str = "") -> list[str]:
    """The lines that tell a learner about a mistake."""
    hint = mistake.fix or hint
    lines = wrapped(f"This looks like {mistake.name}: {mistake.sentence}")
    return lines + (wrapped(f"Hint: {hint}") if hint else [])


@dataclass(frozen=True, kw_only=True)
class Exercise:
    """What both kinds share.

    Attributes
    ----------
    heading : str
        As in the notebook: "01.3 chain of choices · core · 10 minutes"; of a blank in a lesson,
        its name: "01.a the next choice".
    praise : str
        A sentence for those who got it right.
    mistakes : tuple of Mistake
        The likeliest ones. Their hints do not give the answer away.
    """

    heading: str
    praise: str
    mistakes: tuple[Mistake, ...]

    @property
    def title(self) -> str:
        """Number and name, "01.3 chain of choices"."""
        return self.heading.split(" · ")[0]

    @property
    def number(self) -> str:
        """The part before the name, "01.3"."""
        return self.title.split()[0]

    @property
    def is_fill_in(self) -> bool:
        """Whether it is a blank in a lesson: these have letters, "01.a", and no points."""
        return self.number[-1].isalpha()

    def _find(self, fits: Callable[[Any], bool], fully: Any = None) -> Mistake | None:
        """The mistake of which a variant fits."""
        variants = [(mistake, variant) for mistake in self.mistakes for variant in mistake.variants]
        found = engine.find_mistake(
            variants, lambda v: fits(v[1]), fully and (lambda v: fully(v[1]))
        )
        return found[0] if found else None


@dataclass(frozen=True, kw_only=True)
class Values(Exercise):
    """The learner gives values: numbers, arrays, options or sets of options.

    The first wrong one is talked about. A mistake is recognised if it gives the whole answer, or
    else this value; where there is only one value, its variants need not be dicts.

    Attributes
    ----------
    right : dict
        The right values by their names in the notebook, in the order of the check's arguments.
    hint : str
        For a value that no known mistake gives, or a mistake without its own.
    options : str or tuple of str
        What may be chosen, if something is to be chosen.
    rtol, atol : float
        By default two digits are enough.
    """

    right: dict[str, Any]
    hint: str
    options: Sequence[str] = ()
    rtol: float = 0.01
    atol: float = 1e-9

    def check(self, answer: Any) -> str:
        """What to say about a right answer; raises NotYet for any other."""
        several = len(self.right) > 1 and isinstance(answer, tuple | list | np.ndarray)
        values = list(answer) if several else [answer]
        if isinstance(answer, Mapping):
            values = [answer.get(name) for name in self.right]
        if all(is_blank(value) for value in values):
            raise NoAnswer
        if len(values) != len(self.right):
            raise NotYet(f"  Hand in {len(self.right)} values: {', '.join(self.right)}.")
        given = dict(zip(self.right, values, strict=True))
        for name, value in given.items():
            if is_blank(value):
                raise NoAnswer(name)
            given[name] = self._tidy(value, name)
            if not same(given[name], self.right[name], self.rtol, self.atol):
                self._say_what_is_wrong(name, given)
        return self.praise

    def _tidy(self, value: Any, name: str) -> Any:
        """Options as they are spelled here; NotYet for a value of the wrong type or shape."""
        right = self.right[name]
        if isinstance(right, frozenset):
            if isinstance(value, str) or not isinstance(value, Iterable):
                raise NotYet(f"  {name} is a set, such as {{'{self.options[0]}'}} or set().")
            return frozenset(self._option(part) for part in value)
        if isinstance(right, str):
            return self._option(value)
        got, wanted = as_array(value), np.asarray(right)
        if got is None or got.shape != wanted.shape:
            what = f"numbers of shape {wanted.shape}" if wanted.ndim else "one number"
            raise NotYet(f"  {name} is {what}; got {short(value)}.")
        return value

    def _option(self, value: Any) -> str:
        """The option that is meant, in capitals or not."""
        meant = [o for o in self.options if o.lower() == str(value).strip().lower()]
        if meant:
            return meant[0]
        choices = ", ".join(repr(option) for option in self.options)
        raise NotYet("\n".join(wrapped(f"Choose from {choices}; got {short(value)}.")))

    def _say_what_is_wrong(self, name: str, given: dict[str, Any]) -> None:
        """Raise NotYet, with the mistake if it is known."""

        def gives(part: str, variant: Any) -> bool:
            changes = variant if isinstance(variant, dict) else {name: variant}
            got, made, right = given[part], (self.right | changes)[part], self.right[part]
            if isinstance(right, frozenset):  # each option is right or wrong by itself
                wrong_part = {made} if isinstance(made, str) else made ^ right
                return part in changes and wrong_part <= got ^ right
            return same(got, made, self.rtol, self.atol)

        mistake = self._find(
            lambda variant: gives(name, variant),
            lambda variant: all(gives(part, variant) for part in self.right),
        )
        counted = ""
        if isinstance(self.right[name], frozenset):
            count = len(self.options) - len(given[name] ^ self.right[name])
            counted = f" ({count} of {len(self.options)} options are)"
        lines = [f"  {name} = {short(given[name])} is not right{counted}."]
        lines += explain(mistake, self.hint) if mistake else wrapped(f"Hint: {self.hint}")
        raise NotYet("\n".join(lines), mistake.name if mistake else None)


@dataclass(frozen=True, kw_only=True)
class Words(Values):
    """The learner explains something in own words, and then ticks the statements that belong there.

    The text is not read by anybody: it has to be written before the statements are compared. The
    praise is an explanation to hold beside it.
    """

    def check(self, answer: Any) -> str:
        """As for values; the answer is a text of at least 20 words, and a set of letters."""
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise NotYet("  Hand in your text, then the set of the letters that belong into it.")
        text, letters = answer
        if is_blank(text):
            raise NoAnswer("your text")
        if len(str(text).split()) < 20:
            raise NotYet("  Write at least 20 words of your own first; then compare with the list.")
        return super().check(letters)


@dataclass(frozen=True, kw_only=True)
class Code(Exercise):
    """The learner writes a function; its results are compared with those of `right` on `cases`.

    With `test`, that decides instead, about whatever is handed in: a sampler, a counterexample.

    Attributes
    ----------
    right, cases : callable, tuple of tuples
        A function of `pld_edu.reference`, or brute force; its positional arguments.
    measure : callable
        ``measure(function, *case)``, for what counts instead of the return value: a gradient, say.
    rtol, atol : float
    test : callable
        ``test(answer)``: None if right, the name of one of `mistakes`, or another sentence. It may
        raise NotYet, and should call functions of the learner with `call`.
    """

    right: Any = None
    cases: tuple[tuple[Any, ...], ...] = ()
    measure: Callable[..., Any] = call
    rtol: float = 1e-9
    atol: float = 1e-12
    test: Callable[[Any], str | None] | None = None

    def check(self, answer: Any) -> str:
        """What to say about a right answer; raises NotYet for any other."""
        if is_blank(answer):
            raise NoAnswer
        if self.test is not None:
            self._say_what_was_found(self.test, answer)
            return self.praise
        self._compare(answer)
        return f"All {len(self.cases)} cases agree. {self.praise}"

    def _say_what_was_found(self, test: Callable[[Any], str | None], answer: Any) -> None:
        """Raise NotYet unless the test finds nothing."""
        known = {mistake.name: mistake for mistake in self.mistakes}
        try:
            found = test(answer)
        except NotYet as report:  # the checker's, for instance, which lacks the exercise's hint
            mistake = known.get(report.mistake or "")
            hint = wrapped(f"Hint: {mistake.fix}") if mistake and mistake.fix else []
            raise NotYet("\n".join([str(report), *hint]), report.mistake) from None
        if found in known:
            raise NotYet("\n".join(explain(known[found])), found)
        if found is not None:
            raise NotYet("\n".join(wrapped(found)))

    def _compare(self, function: Callable[..., Any]) -> None:
        """Raise NotYet with the mistake and the smallest case that shows it, if one is wrong."""
        cases = sorted(self.cases, key=_size)
        triples = [(c, self.measure(self.right, *c), self.measure(function, *c)) for c in cases]
        bad = [c for c in triples if not same(c[2], c[1], self.rtol, self.atol)]
        if not bad:
            return
        relation = engine.describe_relation(
            [got for *_, got in triples], [w for _, w, _ in triples]
        )
        lines = wrapped(relation.sentence if relation else "The numbers differ.")
        mistake = self._made(triples)
        if mistake:
            lines = explain(mistake)
        elif any(engine.is_finite(got) for *_, got in bad):  # it may overflow elsewhere
            mistake = self._made([c for c in triples if engine.is_finite(c[2])])
            lines = [*explain(mistake), *lines] if mistake else lines
        lines.append(f"  Smallest case that shows it ({len(bad)} of {len(cases)} do):")
        case, wanted, got = bad[0]
        lines += shown(self.right, case, wanted=wanted, got=got)
        raise NotYet("\n".join(lines), mistake.name if mistake else None)

    def _made(self, triples: Sequence[tuple[Any, Any, Any]]) -> Mistake | None:
        """The mistake that gives all these numbers, up to rounding."""
        far = [t for t in triples if not same(t[2], t[1], 1e-6, 1e-9)]
        # Where the numbers are nearly right, mistakes differ by rounding alone.
        rtol, atol = (max(self.rtol, 1e-6), max(self.atol, 1e-9)) if far else (1e-10, 1e-15)

        def fits(function: Callable[..., Any]) -> bool:
            try:
                return all(
                    same(got, self.measure(function, *case), rtol, atol) for case, _, got in triples
                )
            except NotYet:
                return False

        return self._find(fits)


def _size(arguments: Sequence[Any]) -> int:
    """How many numbers a case holds: the smallest case is the one to think about."""
    arrays = [as_array(a) for a in arguments]
    return sum(1 if a is None else a.size for a in arrays)
