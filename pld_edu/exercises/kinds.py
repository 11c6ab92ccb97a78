"""The kinds of exercises: a function, an answer, something to be judged, a loss.

Each knows the right answer and a list of named mistakes. A learner's answer is compared with all
of them, so that a wrong one is told what went wrong.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pld_edu.check import Report, cases, check_loss

from .calling import (
    NotYet,
    as_array,
    call,
    is_finite,
    pattern,
    refuse_empty,
    same,
    short,
    shown,
    size,
    wrapped,
)

Level = Literal["warm-up", "core", "challenge"]


@dataclass(frozen=True)
class Mistake:
    """One way to get an exercise wrong.

    Attributes
    ----------
    name : str
        Short, with hyphens; unique in its exercise.
    answer : Any
        What somebody who makes this mistake hands in.
    why : str
        One sentence: what is wrong.
    hint : str
        One sentence: where to look, without giving the answer away.
    """

    name: str
    answer: Any
    why: str = ""
    hint: str = ""

    def lines(self) -> list[str]:
        """The message's lines."""
        lines = wrapped(f"This looks like {self.name}: {self.why}")
        return lines + (wrapped(f"Hint: {self.hint}") if self.hint else [])


@dataclass(frozen=True, kw_only=True)
class Exercise(ABC):
    """What all kinds share.

    Attributes
    ----------
    title : str
        Number and name, "01.2 chain of choices".
    level : {"warm-up", "core", "challenge"}
    minutes : int
        Expected time.
    then : str
        A sentence for those who got it right.
    mistakes : tuple of Mistake
    """

    title: str
    level: Level
    minutes: int
    then: str = ""
    mistakes: tuple[Mistake, ...] = ()

    @property
    def number(self) -> str:
        """The part before the name, "01.2"."""
        return self.title.split()[0]

    @abstractmethod
    def judge(self, answer: Any) -> str:
        """What to say about a right answer; raises NotYet for any other."""


@dataclass(frozen=True, kw_only=True)
class FunctionExercise(Exercise):
    """The learner writes a function; it is compared with `right` on `cases`.

    Attributes
    ----------
    right : callable
        From `pld_edu.reference`, or brute force.
    cases : tuple of tuples
        Positional arguments.
    agrees_with : str
        What `right` is, in words: "reference.log_likelihood".
    measure : callable
        ``measure(function, *case)``: how a function is turned into numbers, where its return
        value is not what counts (its gradient, say). Default: call it.
    rtol, atol : float
    digits_matter : bool
        True if mistakes differ from the right answer, or from each other, by rounding alone.
    """

    right: Callable[..., Any]
    cases: tuple[tuple[Any, ...], ...]
    agrees_with: str
    measure: Callable[..., Any] = call
    rtol: float = 1e-9
    atol: float = 1e-12
    digits_matter: bool = False

    def judge(self, answer: Any) -> str:
        if not callable(answer):
            raise NotYet("  Hand in the function itself, by its name, without calling it.")
        wanted = [self.measure(self.right, *case) for case in self.cases]
        order = sorted(range(len(wanted)), key=lambda i: size(self.cases[i]))
        outcomes = {i: self.measure(answer, *self.cases[i]) for i in order}
        got = [outcomes[i] for i in range(len(wanted))]
        wrong = [i for i in order if not self._same(got[i], wanted[i])]
        if not wrong:
            text = f"agrees with {self.agrees_with} on {len(self.cases)} cases."
            return f"{text} {self.then}".strip()
        everywhere = range(len(wanted))
        mistake = self._mistake(got, everywhere)
        sentence = pattern(got, wanted) or "The numbers differ."
        lines = mistake.lines() if mistake else wrapped(sentence)
        finite = [i for i in everywhere if is_finite(got[i])]
        if mistake is None and set(finite) & set(wrong):  # it may also overflow somewhere
            mistake = self._mistake(got, finite)
            lines = [*mistake.lines(), *lines] if mistake else lines
        first = wrong[0]
        lines.append(f"  Smallest case that shows it ({len(wrong)} of {len(wanted)} do):")
        lines += shown(self.right, self.cases[first], wanted=wanted[first], got=got[first])
        raise NotYet("\n".join(lines), mistake.name if mistake else None)

    def _mistake(self, got: list[Any], where: Sequence[int]) -> Mistake | None:
        """The mistake that gives these numbers on the cases in these places."""
        return next((m for m in self.mistakes if self._made(m, got, where)), None)

    def _made(self, mistake: Mistake, got: list[Any], where: Sequence[int]) -> bool:
        """Whether these are the numbers of `mistake`, up to rounding."""
        rtol, atol = self.rtol, self.atol
        if not self.digits_matter:
            rtol, atol = max(rtol, 1e-6), max(atol, 1e-9)
        try:
            return all(
                same(got[i], self.measure(mistake.answer, *self.cases[i]), rtol, atol)
                for i in where
            )
        except NotYet:
            return False

    def _same(self, got: Any, wanted: Any) -> bool:
        return same(got, wanted, self.rtol, self.atol)


@dataclass(frozen=True, kw_only=True)
class AnswerExercise(Exercise):
    """The learner gives a number, several numbers, or one (or a set) of the options.

    Attributes
    ----------
    right : Any
        A number, a tuple of numbers, one of `options`, or a set of them.
    hint : str
        For an answer that is none of the known mistakes.
    options : tuple of str
        Empty for numbers. Every wrong option should be a mistake.
    rtol, atol : float
        By default three digits are enough.
    """

    right: Any
    hint: str
    options: tuple[str, ...] = ()
    rtol: float = 1e-3
    atol: float = 1e-9

    def judge(self, answer: Any) -> str:
        refuse_empty(answer)
        answer = self._tidy(answer)
        if same(answer, self.right, self.rtol, self.atol):
            return self.then or short(answer)
        for mistake in self.mistakes:
            if same(answer, mistake.answer, self.rtol, self.atol):
                raise NotYet("\n".join(mistake.lines()), mistake.name)
        lines = [f"  Got {short(answer)}{self._how_many_right(answer)}."]
        raise NotYet("\n".join([*lines, *wrapped(f"Hint: {self.hint}")]))

    def _how_many_right(self, answer: Any) -> str:
        if not isinstance(answer, tuple | list) or not isinstance(self.right, tuple):
            return ""
        pairs = zip(answer, self.right, strict=True)
        right = sum(same(a, b, self.rtol, self.atol) for a, b in pairs)
        return f"; {right} of {len(self.right)} are right"

    def _tidy(self, answer: Any) -> Any:
        """Options in lower case; refuses what is no option, no number or too few numbers."""
        if self.options:
            parts = answer if isinstance(answer, set | frozenset | list | tuple) else {answer}
            chosen = {self._option(part) for part in parts}
            if not chosen <= set(self.options):
                choices = ", ".join(repr(option) for option in self.options)
                raise NotYet("\n".join(wrapped(f"Choose from {choices}; got {short(answer)}.")))
            if isinstance(self.right, str) and len(chosen) == 1:
                return chosen.pop()
            return chosen
        got, wanted = as_array(answer), as_array(self.right)
        if wanted is not None and (got is None or got.shape != wanted.shape):
            what = "one number" if wanted.ndim == 0 else f"{wanted.size} numbers"
            raise NotYet(f"  The answer is {what}; got {short(answer)}.")
        return answer

    def _option(self, part: Any) -> str:
        """The option that is meant: its text, or its number."""
        text = str(part).strip().lower()
        if isinstance(part, int | float):
            return next((o for o in self.options if _number(o) == part), text)
        return text


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


@dataclass(frozen=True, kw_only=True)
class JudgedExercise(Exercise):
    """The learner hands in anything; a function judges it. For counterexamples and samplers.

    Attributes
    ----------
    verdict : callable
        ``verdict(answer)``: None if right, the name of one of `mistakes`, or another sentence.
        It may raise NotYet, and should call functions of the learner with `call`.
    """

    verdict: Callable[[Any], str | None]

    def judge(self, answer: Any) -> str:
        refuse_empty(answer)
        found = self.verdict(answer)
        if found is None:
            return self.then
        for mistake in self.mistakes:
            if mistake.name == found:
                raise NotYet("\n".join(mistake.lines()), mistake.name)
        raise NotYet("\n".join(wrapped(found)))


@dataclass(frozen=True, kw_only=True)
class LossExercise(Exercise):
    """The learner writes a loss, ``loss(student_logits, teacher_logits, labels, temperature)``.

    `pld_edu.check.check_loss` judges it, and a mistake's name is the checker's, or two of them
    joined by " + ". With `gradient`, the learner hands in two functions, loss and gradient.

    Attributes
    ----------
    framework : {"numpy", "torch", "jax"}
    weights, reduction : str
        As in `check_loss`.
    gradient : bool
    strict : tuple of str
        Remarks of the checker, such as "other-ties", that do not pass here.
    """

    framework: str = "numpy"
    weights: str = "teacher"
    reduction: str = "mean"
    gradient: bool = False
    strict: tuple[str, ...] = ()

    def judge(self, answer: Any) -> str:
        functions = answer if isinstance(answer, tuple) else (answer,)
        if not all(callable(f) for f in functions) or len(functions) != 1 + self.gradient:
            wanted = "two functions, loss and gradient," if self.gradient else "the function"
            raise NotYet(f"  Hand in {wanted} by name, without calling.")
        report = self._report(*functions)
        causes = [
            cause for cause in report.causes if cause.kind == "mistake" or cause.name in self.strict
        ]
        if report.passed and not causes:
            text = report.headline.removeprefix("PLD check: RIGHT ").strip("()")
            return f"the checker finds no mistake in {text}. {self.then}".strip()
        name = " + ".join(cause.name for cause in causes)
        lines = [f"  {line}".rstrip() for line in str(report).splitlines()]
        if report.passed:
            lines = wrapped("The loss is right; here one thing more is asked for.")
            lines += [line for c in causes for line in wrapped(f"{c.name}: {c.sentence}")]
        known = next((m for m in self.mistakes if m.name == name and m.hint), None)
        if known:
            lines += ["", *wrapped(f"Hint: {known.hint}")]
        raise NotYet("\n".join(lines), name or None)

    def _report(
        self, loss: Callable[..., Any], gradient: Callable[..., Any] | None = None
    ) -> Report:
        """The checker's report, once the functions run at all."""
        for function in (loss, gradient):
            if function is not None:
                call(function, *self._tiny_batch())
        return check_loss(
            loss,
            framework=self.framework,
            gradient=gradient,
            weights=self.weights,
            reduction=self.reduction,
        )

    def _tiny_batch(self) -> tuple[Any, ...]:
        case = cases()[0]
        batch = (case.student_logits, case.teacher_logits, case.labels)
        if self.framework == "torch":
            import torch

            return tuple(torch.as_tensor(array) for array in batch)
        return batch
