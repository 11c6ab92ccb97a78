"""Two more kinds of exercises, where one answer holds several: judged part by part."""

from dataclasses import dataclass
from typing import Any

from .calling import NO_ANSWER, NotYet, as_array, same, short, wrapped
from .kinds import AnswerExercise, Mistake


@dataclass(frozen=True, kw_only=True)
class PartsExercise(AnswerExercise):
    """Several numbers, arrays or sets at once; the first wrong one is talked about.

    `right` and the answer of each mistake are tuples; a mistake is recognised by the first part in
    which its answer differs from the right one, whatever the learner put after it.

    Attributes
    ----------
    parts : tuple of str
        What the parts are called in the notebook, in the order of the check's arguments.
    """

    parts: tuple[str, ...]

    def judge(self, answer: Any) -> str:
        given = tuple(answer) if isinstance(answer, tuple | list) else (answer,)
        if all(any(part is nothing for nothing in NO_ANSWER) for part in given):
            raise NotYet("  No answer yet: fill in the cell above, run it, then this one.")
        if len(given) != len(self.parts):
            raise NotYet(f"  Hand in {len(self.parts)} things: {', '.join(self.parts)}.")
        for i, (name, got, wanted) in enumerate(zip(self.parts, given, self.right, strict=True)):
            if any(got is nothing for nothing in NO_ANSWER):
                raise NotYet(f"  {name} is not answered yet.")
            got = self._tidy_part(name, got, wanted)
            if self._same(got, wanted):
                continue
            heading = [f"  {name} = {_shown(got)} is not it."]
            for mistake in self.mistakes:
                if self._first_wrong(mistake) == i and self._same(got, mistake.answer[i]):
                    raise NotYet("\n".join(heading + mistake.lines()), mistake.name)
            raise NotYet("\n".join(heading + wrapped(f"Hint: {self.hint}")))
        return self.then

    def _first_wrong(self, mistake: Mistake) -> int:
        pairs = zip(mistake.answer, self.right, strict=True)
        return next(i for i, (a, b) in enumerate(pairs) if not self._same(a, b))

    def _same(self, a: Any, b: Any) -> bool:
        return same(a, b, self.rtol, self.atol)

    def _tidy_part(self, name: str, got: Any, wanted: Any) -> Any:
        """A set in upper case; refuses what has not the shape that is wanted."""
        if isinstance(wanted, frozenset):
            if isinstance(got, str) or not hasattr(got, "__iter__"):
                raise NotYet(f"  {name} is a set, such as {{'A', 'B'}} or set().")
            return frozenset(str(item).strip().upper() for item in got)
        a, b = as_array(got), as_array(wanted)
        if b is not None and (a is None or a.shape != b.shape):
            what = "one number" if b.ndim == 0 else f"numbers of shape {b.shape}"
            raise NotYet(f"  {name} is {what}; got {short(got)}.")
        return got


def _shown(value: Any) -> str:
    if isinstance(value, frozenset):
        return "{" + ", ".join(sorted(value)) + "}" if value else "set()"
    return short(value)


@dataclass(frozen=True, kw_only=True)
class ChoicesExercise(AnswerExercise):
    """Which of the options? Each is right or wrong by itself, and has a mistake of its own.

    `right` is a frozenset of options; a mistake's answer differs from it by one option.
    """

    def judge(self, answer: Any) -> str:
        if any(answer is nothing for nothing in NO_ANSWER):
            raise NotYet("  No answer yet: fill in the cell above, run it, then this one.")
        wrong = frozenset(self._tidy(answer)) ^ self.right
        if not wrong:
            return self.then
        good = len(self.options) - len(wrong)
        heading = [f"  {good} of {len(self.options)} are judged as they should be."]
        for mistake in self.mistakes:
            if mistake.answer ^ self.right <= wrong:
                raise NotYet("\n".join(heading + mistake.lines()), mistake.name)
        raise NotYet("\n".join(heading + wrapped(f"Hint: {self.hint}")))
