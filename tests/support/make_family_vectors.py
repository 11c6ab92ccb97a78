"""Write `vectors_kd_v1.json` and the like: ``python -m tests.support.make_family_vectors``.

The numbers are those of `exact`, in 60 digits and rounded once, at the end, to float64. None of the
package's own losses takes part.
"""

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from tests.support import exact
from tests.support.make_vectors import FLAGS, VECTORS, _case, _grid, inputs, tolerance

Case = dict[str, Any]
Value = Callable[[list], Any]  # of all student logits of a case, row after row
NAMES = ("kd", "dist", "dkd", "list_mle")

WHAT = {
    "kd": "KD (Hinton et al. 2015): tau^2 KL(softmax(t / tau) || softmax(s / tau)).",
    "dist": "DIST (Huang et al. 2022): terms.inter plus terms.intra, each times tau^2; norms plus "
    "1e-8 in the denominator, as in the authors' code.",
    "dkd": "DKD (Zhao et al. 2022): terms.tckd plus 8 times terms.nckd, each times tau^2.",
    "list_mle": "ListMLE (Xia et al. 2008): student_logits are the scores and teacher_logits the "
    "relevance; minus the log-likelihood of the ranking by descending relevance.",
}
READ_ME = [
    "student_logits and teacher_logits have shape [N, C]; labels [N] count from 0. All inputs are "
    "exact in float32.",
    "loss_per_row [N] (not for DIST, a value of the batch); loss is its mean; gradient [N, C] is "
    "that of the mean with respect to student_logits.",
    "terms holds the same for what the loss is made of or mixed with; ce is cross-entropy.",
    "tolerance: |got - expected| <= absolute + relative * |expected|, by dtype.",
]


def family_inputs(name: str) -> list[Case]:
    """Every case of a loss without its answers."""
    cases = [c for c in inputs() if c["id"] != "hundred-classes"]
    if name == "list_mle":
        return [c for c in cases if "temperature" not in c["flags"]]
    if name != "dist":
        far = "The teacher's second class has a probability of exp(-200)."
        return [
            *cases,
            _case("boiling", "Temperature 8.", "plain temperature",
                  [[3, -2, 0.5, 1]], [[-4, 6, 2, 0]], [1], 8.0),
            _case("teacher-far", far, "spread", [[0, 1]], [[0, -200]], [0]),
        ]  # fmt: skip
    shapes = [(3, 4)] * 7 + [(3, 3), (4, 6), (5, 3), (6, 10)]
    made = [
        _case(f"batch-{i}", f"{n} rows, {c} classes.", "plain batch",
              _grid(n, c, 5 + 13 * i, 0.0625), _grid(n, c, 60 + 7 * i, 0.0625),
              [(i + 2 * r) % c for r in range(n)])
        for i, (n, c) in enumerate(shapes, start=1)
    ]  # fmt: skip
    for i, tau in enumerate((2.0, 4.0, 8.0, 0.5), start=1):
        made.append(
            _case(f"temperature-{i}", f"Temperature {tau:g}.", "plain temperature batch",
                  _grid(3 + i, 5, 21 * i, 0.125), _grid(3 + i, 5, 4 + 17 * i, 0.125),
                  [(3 * r + i) % 5 for r in range(3 + i)], tau)
        )  # fmt: skip
    high = [[x + 96 for x in row] for row in _grid(3, 4, 8, 0.0625)]
    low = [[x - 96 for x in row] for row in _grid(3, 4, 8, 0.0625)]
    teacher = _grid(3, 4, 31, 0.0625)
    made.append(_case("high", "96 higher.", "large batch", high, teacher, [0, 1, 2]))
    made.append(_case("low", "96 lower.", "large batch", low, teacher, [0, 1, 2]))
    return made


def values(name: str, case: Case) -> dict[str, tuple[list[Value], bool]]:
    """By term the values of the rows, and whether there are rows; the loss itself is first."""
    t, y, tau = case["teacher_logits"], case["labels"], case["temperature"]
    c = len(t[0])
    rows = range(len(t))

    def each(of: Callable[..., Any]) -> tuple[list[Value], bool]:
        return [lambda s, n=n: of(s[n * c : (n + 1) * c], n) for n in rows], True

    def whole(beta: int, gamma: int) -> tuple[list[Value], bool]:
        return [lambda s: exact.dist(list(batched_rows(s, c)), t, tau, beta, gamma)], False

    ce = each(lambda s, n: exact.cross_entropy(s, y[n])[0])

    def dkd(s: list, n: int, a: int, b: int) -> Any:
        return exact.dkd(s, t[n], y[n], tau, a, b)

    if name == "kd":
        return {"kd": each(lambda s, n: exact.kd(s, t[n], tau)), "ce": ce}
    if name == "dist":
        return {"dist": whole(1, 1), "inter": whole(1, 0), "intra": whole(0, 1), "ce": ce}
    if name == "dkd":
        parts = {"dkd": (1, 8), "tckd": (1, 0), "nckd": (0, 1)}
        return {k: each(partial(dkd, a=a, b=b)) for k, (a, b) in parts.items()} | {"ce": ce}

    def list_mle(s: list, n: int) -> Any:
        order = sorted(range(c), key=lambda i: (-t[n][i], i))
        return -exact.log_likelihood(s, order)[0]

    return {"list_mle": each(list_mle)}


def batched_rows(s: list, c: int) -> Any:
    return (s[i : i + c] for i in range(0, len(s), c))


def answer(of: list[Value], per_row: bool, case: Case) -> Case:
    """Loss per row, mean loss and its gradient, rounded to float64 at the very end."""
    flat = [x for row in case["student_logits"] for x in row]
    c = len(case["student_logits"][0])
    found = [f(flat) for f in of]
    slope = exact.gradient(lambda s: exact.mp.fsum(f(s) for f in of) / len(of), flat)
    rows = {"loss_per_row": [float(x) for x in found]} if per_row else {}
    return {
        **rows,
        "loss": float(exact.mp.fsum(found) / len(found)),
        "gradient": [[float(x) for x in row] for row in batched_rows(slope, c)],
    }


def build(name: str) -> str:
    """A whole file as text."""
    cases = []
    for case in family_inputs(name):
        found = {k: answer(*of, case) for k, of in values(name, case).items()}
        own, terms = found.pop(name), found
        if name == "list_mle":
            del case["labels"], case["temperature"]
        cases.append(
            case | own | ({"terms": terms} if terms else {}) | {"tolerance": tolerance(case)}
        )
    used = {flag for c in cases for flag in c["flags"]}
    head = {
        "version": 1,
        "source": WHAT[name],
        "digits": exact.mp.dps,
        "notes": {"read_me": READ_ME, "flags": {k: v for k, v in FLAGS.items() if k in used}},
    }
    lines = [f" {json.dumps(k)}: {json.dumps(v, indent=1)}," for k, v in head.items()]
    body = ",\n".join(
        "  {\n" + ",\n".join(f"   {json.dumps(k)}: {json.dumps(v)}" for k, v in c.items()) + "\n  }"
        for c in cases
    )
    return "{\n" + "\n".join(lines) + '\n "cases": [\n' + body + "\n ]\n}\n"


if __name__ == "__main__":
    for name in NAMES:
        path = VECTORS.with_name(f"vectors_{name}_v1.json")
        path.write_text(build(name), encoding="utf-8", newline="\n")
        print(f"wrote {path.name}")
