"""Exercise 02.6: when do finite best-fitting scores exist?"""

from collections.abc import Sequence
from itertools import pairwise

from pld_edu import reference

from .kinds import FunctionExercise, Mistake


def _has_fit(rankings: Sequence[Sequence[str]]) -> bool:
    try:
        reference.fit_scores(rankings)
    except ValueError:
        return False
    return True


def _links(rankings: Sequence[Sequence[str]]) -> dict[str, set[str]]:
    below: dict[str, set[str]] = {item: set() for ranking in rankings for item in ranking}
    for ranking in rankings:
        for better, worse in pairwise(ranking):
            below[better].add(worse)
    return below


def _reached(start: str, links: dict[str, set[str]]) -> set[str]:
    seen, todo = {start}, [start]
    while todo:
        new = links[todo.pop()] - seen
        seen |= new
        todo += new
    return seen


def _nobody_last(rankings: Sequence[Sequence[str]]) -> bool:
    links = _links(rankings)
    return all(links.values())


def _nobody_extreme(rankings: Sequence[Sequence[str]]) -> bool:
    links = _links(rankings)
    return all(links.values()) and set().union(*links.values()) == set(links)


def _linked_somehow(rankings: Sequence[Sequence[str]]) -> bool:
    links = _links([*rankings, *(list(reversed(r)) for r in rankings)])
    return len(_reached(next(iter(links)), links)) == len(links)


def _from_one_item(rankings: Sequence[Sequence[str]]) -> bool:
    links = _links(rankings)
    return len(_reached(next(iter(links)), links)) == len(links)


def _directly(rankings: Sequence[Sequence[str]]) -> bool:
    ahead = {(a, b) for r in rankings for i, a in enumerate(r) for b in r[i + 1 :]}
    items = set(_links(rankings))
    return all((a, b) in ahead for a in items for b in items - {a})


def _rankings(*texts: str) -> tuple[list[list[str]]]:
    """Rankings written as "abc cab"."""
    return ([list(word) for text in texts for word in text.split()],)


EXISTENCE = FunctionExercise(
    title="02.6 is there a fit?",
    level="challenge",
    minutes=16,
    right=_has_fit,
    agrees_with="reference.fit_scores, which refuses where there is no fit,",
    cases=(
        _rankings("ab ab"),
        _rankings("ab ba"),
        _rankings("ab bc ca"),
        _rankings("abc abc bac"),
        _rankings("ab ca"),
        _rankings("ab ba bc"),
        _rankings("abc bca"),
        _rankings("ab ba cd dc"),
        _rankings("ab ba cd dc ac bd"),
        _rankings("ab ba cd dc ac db"),
        _rankings("ab bc cd da"),
        _rankings("ab bc cd db"),
        _rankings("ba cb dc bd"),
    ),
    then="This is Ford's condition of 1957: chains of wins must lead from everyone to everyone.",
    mistakes=(
        Mistake(
            "nobody-always-last",
            _nobody_last,
            "it is only asked whether everybody has beaten somebody.",
            "What if somebody has never been beaten?",
        ),
        Mistake(
            "nobody-always-first-or-last",
            _nobody_extreme,
            "nobody is unbeaten or without a win, but a whole *group* may be.",
            "Think of two leagues, and every meeting between them won by the same league.",
        ),
        Mistake(
            "direction-ignored",
            _linked_somehow,
            "it is asked whether results link everybody, whoever won.",
            "A chain of wins has a direction; there must be one each way.",
        ),
        Mistake(
            "one-way-only",
            _from_one_item,
            "chains lead from the first item to all others, but do they lead back?",
            "Try it from every item, or once with all results turned round.",
        ),
        Mistake(
            "no-chains",
            _directly,
            "everybody is asked to have beaten everybody directly.",
            "a before b and b before c also say something about a and c.",
        ),
        Mistake(
            "always",
            lambda rankings: True,
            "the answer is always True.",
            "Two items and one result: how far up does the winner's score go?",
        ),
    ),
)
