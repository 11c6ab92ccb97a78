"""Write `vectors_v1.json`: ``python -m tests.support.make_vectors`` in the folder of the clone.

The numbers are those of `exact`, in 60 digits and rounded once, at the end, to float64. None of the
package's own losses takes part.
"""

import json
from pathlib import Path
from typing import Any

from tests.support import exact

VECTORS = Path(__file__).parents[2] / "pld_edu" / "check" / "vectors_v1.json"
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


def answers(case: dict[str, Any], weights: str) -> dict[str, Any]:
    """Loss per row, mean loss and its gradient, rounded to float64 at the very end."""
    inputs = zip(case["student_logits"], case["teacher_logits"], case["labels"], strict=True)
    rows = [exact.pld(s, t, y, case["temperature"], weights) for s, t, y in inputs]
    return {
        "loss_per_row": [float(loss) for loss, _ in rows],
        "loss": float(exact.mp.fsum(loss for loss, _ in rows) / len(rows)),
        "gradient": [[float(x / len(rows)) for x in gradient] for _, gradient in rows],
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
    cases = [
        case
        | answers(case, "teacher")
        | {"uniform": answers(case, "uniform"), "tolerance": tolerance(case)}
        for case in inputs()
    ]
    head = {
        "version": 1,
        "source": "arXiv 2506.12542",
        "digits": exact.mp.dps,
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
