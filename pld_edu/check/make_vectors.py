"""Write `vectors_v1.json` from 60-digit arithmetic: ``python -m pld_edu.check.make_vectors``.

The numbers come from the formulas of arXiv 2506.12542 (Sec. 4.2 and App. A), spelled out in mpmath
and rounded once, at the end, to float64. None of this package's own losses takes part.
"""

import json
from pathlib import Path
from typing import Any

VECTORS = Path(__file__).with_name("vectors_v1.json")
DIGITS = 60
REGULAR_SCALE = 100.0

FLAGS = {
    "plain": "Student logits of everyday size. Every implementation must be right here.",
    "batch": "Several rows. Tells a mean over the batch from a sum.",
    "temperature": "Temperature other than 1. Leave it out if your function has none.",
    "confident-teacher": "Teacher weights near 0 and 1. A term of weight 0 must not give NaN.",
    "student-ties": "Equal student logits. Must not matter: the student is never sorted.",
    "ties": "Equal teacher logits. The values are for the lower class index first; another rule is "
    "a convention, not an error.",
    "large": "Student logits up to 100 in size. exp() without a shift overflows in float32 above "
    "88.7, so a loss without log-sum-exp fails here.",
    "spread": "Student logits far apart, 30 to 85. An eps inside a logarithm shows here only.",
    "extreme": "Student logits beyond 100. Failing here is a numerical weakness, not an error.",
}

READ_ME = [
    "Check values for the PLD loss of arXiv 2506.12542: label first, then classes by descending "
    "teacher logit; weights softmax(teacher_logits / temperature) in that order, not renormalised.",
    "student_logits and teacher_logits have shape [N, C]; labels [N] count from 0. All inputs are "
    "exact in float32.",
    "loss_per_row [N]; loss is its mean; gradient [N, C] is that of the mean with respect to "
    "student_logits. There is none for the teacher.",
    "uniform holds the same three for weights 1/C: C times that is ListMLE, minus the "
    "log-likelihood of the teacher's ranking.",
    "tolerance: |got - expected| <= absolute + relative * |expected|, by the dtype your function "
    "computes in; the same for each entry of the gradient. float16 and bfloat16 have none: they "
    "are too coarse for this loss, so promote to float32 inside.",
]


def _case(
    name: str,
    comment: str,
    flags: str,
    student: list[list[float]],
    teacher: list[list[float]],
    labels: list[int],
    temperature: float = 1.0,
) -> dict[str, Any]:
    return {
        "id": name,
        "comment": comment,
        "flags": flags.split(),
        "student_logits": [[float(x) for x in row] for row in student],
        "teacher_logits": [[float(x) for x in row] for row in teacher],
        "labels": labels,
        "temperature": temperature,
    }


def _grid(rows: int, classes: int, start: int, step: float) -> list[list[float]]:
    """Distinct, shuffled multiples of `step` from a fixed linear congruence; no generator."""
    out = []
    for n in range(rows):
        values = [(start + 37 * (c + 1) + 11 * n) * (n + 7) % 101 for c in range(classes)]
        out.append([(v - 50) * step for v in values])
    return out


def inputs() -> list[dict[str, Any]]:
    """Every case without its answers, the ones of everyday size first."""
    a_s, a_t = [0.296875, -1.203125, 2.0, 0.703125], [0.5, 2.0, -1.0, 1.0]
    return [
        _case("base", "Three classes, label ranked last by the teacher.", "plain",
              [[1, 2, 3]], [[0.5, 2, -1]], [2]),
        _case("two-classes", "The smallest choice there is.", "plain", [[1, 2]], [[0, 1]], [0]),
        _case("label-is-top", "Teacher and label agree.", "plain",
              [[0.5, -1, 2, 0.25]], [[3, 1, 2, -1]], [0]),
        _case("label-is-second", "The label is the teacher's second choice.", "plain",
              [[0.5, -1, 2, 0.25, 1]], [[1.5, 2.5, -0.5, 0.25, 0.75]], [0]),
        _case("label-is-bottom", "The teacher ranks the label last.", "plain",
              [[1.5, -0.5, 0.75, 2, -1]], [[2, 0.5, -2, 1, 1.5]], [2]),
        _case("warm", "Temperature 2 on the weights alone.", "plain temperature",
              [a_s], [a_t], [3], 2.0),
        _case("hot", "Temperature 4, three rows.", "plain temperature batch",
              [[1, -2, 0.5, 3, 0], [0.25, 1.5, -1, 2.5, 1], [2, 1, 0, -1, -2]],
              [[4, 1, -3, 2, 0], [-1, 6, 2, 0.5, 3], [0, 1.5, 5, -2, 3]], [0, 1, 4], 4.0),
        _case("cold", "Temperature 0.5, two rows.", "plain temperature batch",
              [[0.5, 1, -1.5], [2, 0, 1]], [[0.25, 1, 0.5], [-0.5, 0.75, 0]], [2, 0], 0.5),
        _case("batch-of-two", "Two rows, four classes.", "plain batch",
              [a_s, [1, 0, -2, 0.5]], [a_t, [3, 0, 1, 2]], [1, 0]),
        _case("batch-of-three", "Three rows, three classes.", "plain batch",
              [[1, 2, 3], [-1, 0.5, 0], [2, -2, 1]], [[0.5, 2, -1], [1, 0, 2], [-1, 0.25, 1.5]],
              [0, 2, 1]),
        _case("batch-of-four", "Four rows, six classes.", "plain batch",
              _grid(4, 6, 5, 0.0625), _grid(4, 6, 60, 0.0625), [0, 5, 2, 3]),
        _case("ten-classes", "Ten classes, two rows, temperature 1.5.", "plain batch temperature",
              _grid(2, 10, 3, 0.125), _grid(2, 10, 44, 0.125), [7, 2], 1.5),
        _case("hundred-classes", "A hundred classes, two rows.", "plain batch",
              _grid(2, 100, 8, 0.125), _grid(2, 100, 71, 0.125), [42, 7]),
        _case("flat-teacher", "Teacher logits 1/64 apart: an order, hardly a preference.", "plain",
              [[0.5, 1.5, -1, 0.25]], [[0.03125, 0.015625, 0.046875, 0]], [1]),
        _case("zero-student", "All student logits 0: sum of alpha_k log(C - k + 1).",
              "plain student-ties", [[0, 0, 0, 0]], [[1, 3, 0, 2]], [0]),
        _case("good-student", "The student agrees with the teacher: a small loss.", "plain",
              [[-2, 2, 0, 4]], [[-1, 2, 1, 3]], [3]),
        _case("bad-student", "The student reverses the teacher's order: a large loss.", "plain",
              [[2, -2, 0, -4]], [[-1, 2, 1, 3]], [3]),
        _case("confidently-wrong", "The teacher is sure, and wrong: the label has no voice.",
              "plain confident-teacher", [[1, 2, 3]], [[20, 0, -20]], [2]),
        _case("saturated", "Weights (1, 0, 0) to the last digit: cross-entropy in all but name.",
              "plain confident-teacher", [[1, 2, 3]], [[60, -60, 0]], [0]),
        _case("three-tied", "Three classes tie in the teacher.", "plain ties",
              [[0, 5, -5, 1]], [[1, 1, 1, 0]], [3]),
        _case("two-pairs-tied", "Two pairs tie in the teacher.", "plain ties",
              [[1, -1, 2, 0.5, 3]], [[2, 0.5, 2, 0.5, 1]], [4]),
        _case("high", "The case warm at temperature 1, 96 higher: exp() overflows in float32.",
              "large", [[x + 96 for x in (0.25, -1.25, 2, 0.75)]], [a_t], [3]),
        _case("low", "The case high mirrored down to -98: exp() underflows in float32.",
              "large", [[x - 98 for x in (0.25, -1.25, 2, 0.75)]], [a_t], [3]),
        _case("spread-tail", "The tail lies 80 below the top, where an eps drowns it.", "spread",
              [[0, -40, -80, -81]], [[4, 3, 2, 1]], [0]),
        _case("spread-pair", "Two classes 30 apart in the right order: the loss is nearly 0.",
              "spread", [[0, -30]], [[1, 0]], [0]),
        _case("spread-label", "The label has a probability near exp(-40).", "spread",
              [[-40, 0, -1, 0.5]], [[2, 0.5, 1, 0]], [0]),
        _case("spread-wrong", "Every choice is improbable: the order is reversed.", "spread",
              [[-84, -56, -28, 0]], [[3, 2, 1, 0]], [0]),
        _case("offset-10000", "The base case, 10000 higher: 3 digits are left after the point.",
              "extreme", [[10001, 10002, 10003]], [[0.5, 2, -1]], [2]),
        _case("spread-120", "A step of 30 a rank, down to -120.", "extreme",
              [[0, -30, -60, -90, -110, -120]], [[5, 4, 3, 2, 1, 0]], [0]),
        _case("spread-300", "From 150 to -150.", "extreme",
              [[-150, 150, 10, -10]], [[1, 0, 2, 3]], [0]),
        _case("spread-20000", "From 10000 to -10000.", "extreme",
              [[10000, 0, -10000, 3]], [[2, 1, 0, -1]], [1]),
    ]  # fmt: skip


def ranking(teacher: list[float], label: int) -> list[int]:
    """Label first, then by descending teacher logit; equal logits keep the lower index first."""
    others = [c for c in range(len(teacher)) if c != label]
    return [label, *sorted(others, key=lambda c: (-teacher[c], c))]


def exact_row(
    mp: Any, student: list[float], order: list[int], alpha: list[Any]
) -> tuple[Any, list[Any]]:
    """Loss ``sum_k alpha_k (R_k - s_k)`` and gradient ``sum_k alpha_k (sigma_k - e_k)``."""
    loss = mp.mpf(0)
    gradient = [mp.mpf(0)] * len(student)
    for k, chosen in enumerate(order):
        worths = {c: mp.exp(mp.mpf(student[c])) for c in order[k:]}
        total = mp.fsum(worths.values())
        loss += alpha[k] * (mp.log(total) - student[chosen])
        for c, worth in worths.items():
            gradient[c] += alpha[k] * worth / total
        gradient[chosen] -= alpha[k]
    return loss, gradient


def answers(mp: Any, case: dict[str, Any], weights: str) -> dict[str, Any]:
    """Loss per row, mean loss and its gradient, rounded to float64 at the very end."""
    rows, gradients = [], []
    for s, t, y in zip(case["student_logits"], case["teacher_logits"], case["labels"], strict=True):
        order = ranking(t, y)
        if weights == "uniform":
            alpha = [mp.mpf(1) / len(t)] * len(t)
        else:
            worths = [mp.exp(mp.mpf(x) / mp.mpf(case["temperature"])) for x in t]
            alpha = [worths[c] / mp.fsum(worths) for c in order]
        loss, gradient = exact_row(mp, s, order, alpha)
        rows.append(loss)
        gradients.append(gradient)
    n = len(rows)
    return {
        "loss_per_row": [float(x) for x in rows],
        "loss": float(mp.fsum(rows) / n),
        "gradient": [[float(x / n) for x in row] for row in gradients],
    }


def tolerance(case: dict[str, Any]) -> dict[str, dict[str, float]]:
    """What rounding may cost a literal ``R_k - s_k``: it grows with the logits, up to 100."""
    size = max(abs(x) for row in case["student_logits"] for x in row)
    units = 1.0 + min(size, REGULAR_SCALE) / 10.0
    return {
        "float64": {"absolute": 2e-14 * units, "relative": 1e-13},
        "float32": {"absolute": 2e-5 * units, "relative": 2e-5},
    }


def build() -> str:
    """The whole file as text."""
    from mpmath import mp

    cases = []
    with mp.workdps(DIGITS):
        for case in inputs():
            uniform = {"uniform": answers(mp, case, "uniform")}
            cases.append(
                case | answers(mp, case, "teacher") | uniform | {"tolerance": tolerance(case)}
            )
    head = {
        "version": 1,
        "source": "arXiv 2506.12542",
        "digits": DIGITS,
        "notes": {"read_me": READ_ME, "flags": FLAGS},
    }
    lines = [f" {json.dumps(k)}: {json.dumps(v, indent=1)}," for k, v in head.items()]
    body = ",\n".join(
        "  {\n" + ",\n".join(f"   {json.dumps(k)}: {json.dumps(v)}" for k, v in c.items()) + "\n  }"
        for c in cases
    )
    return "{\n" + "\n".join(lines) + '\n "cases": [\n' + body + "\n ]\n}\n"


if __name__ == "__main__":
    VECTORS.write_text(build(), encoding="utf-8", newline="\n")
    print(f"wrote {VECTORS.name}")
