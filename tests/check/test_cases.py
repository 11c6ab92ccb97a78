"""The vector file: schema, reproducible to the byte, and the same numbers by another route."""

import json
import math
from itertools import permutations

import numpy as np
import pytest
import torch

from pld_edu.check import VECTORS, cases
from tests.support.make_vectors import build

DATA = json.loads(VECTORS.read_text(encoding="utf-8"))
KEYS = {
    "id",
    "comment",
    "flags",
    "student_logits",
    "teacher_logits",
    "labels",
    "temperature",
    "loss_per_row",
    "loss",
    "gradient",
    "uniform",
    "tolerance",
}
by_id = pytest.mark.parametrize("case", cases(), ids=lambda c: c.id)


def test_the_file_is_what_the_generator_writes():
    assert VECTORS.read_bytes() == build().encode()


def test_schema():
    assert DATA["version"] == 1
    assert set(DATA) == {"version", "source", "digits", "notes", "cases"}
    for case in DATA["cases"]:
        assert set(case) == KEYS
        shape = np.shape(case["student_logits"])
        assert np.shape(case["teacher_logits"]) == np.shape(case["gradient"]) == shape
        assert np.shape(case["labels"]) == np.shape(case["loss_per_row"]) == shape[:1]
        assert all(0 <= y < shape[1] for y in case["labels"])
        assert case["temperature"] > 0
        assert set(case["tolerance"]) == {"float32", "float64"}
        assert set(case["uniform"]) == {"loss_per_row", "loss", "gradient"}


def test_ids_are_unique_and_every_flag_is_explained_and_used():
    ids = [case["id"] for case in DATA["cases"]]
    assert len(ids) == len(set(ids))
    used = {flag for case in DATA["cases"] for flag in case["flags"]}
    assert used == set(DATA["notes"]["flags"])


@by_id
def test_flags_say_what_is_there(case):
    s, t = case.student_logits, case.teacher_logits
    assert ("batch" in case.flags) == (len(s) > 1)
    assert ("temperature" in case.flags) == (case.temperature != 1)
    assert ("ties" in case.flags) == any(len(set(row)) < len(row) for row in t.tolist())
    assert ("extreme" in case.flags) == (case.scale > 100)
    assert sum(f in case.flags for f in ("plain", "large", "spread", "extreme")) == 1


@by_id
def test_inputs_are_exact_in_float32(case):
    for x in (case.student_logits, case.teacher_logits):
        assert np.array_equal(x.astype(np.float32).astype(np.float64), x)


def choices(case):
    """Each choice of each row: its weight, the chosen logit, and the logits it was chosen from."""
    for n, (t, y) in enumerate(zip(case.teacher_logits, case.labels.tolist(), strict=True)):
        order = [y, *sorted(set(range(len(t))) - {y}, key=lambda c: (-t[c], c))]
        total = math.fsum(math.exp((x - t.max()) / case.temperature) for x in t)
        for k, chosen in enumerate(order):
            yield n, math.exp((t[chosen] - t.max()) / case.temperature) / total, chosen, order[k:]


@by_id
@pytest.mark.parametrize("weights", ["teacher", "uniform"])
def test_losses_recomputed_from_differences_of_logits(case, weights):
    rows = np.zeros(len(case.labels))
    gradient = np.zeros(case.student_logits.shape)
    classes = gradient.shape[1]
    for n, alpha, chosen, tail in choices(case):
        alpha = alpha if weights == "teacher" else 1 / classes
        s = case.student_logits[n]
        top = s[tail].max()
        later = math.fsum(math.exp(s[c] - top) for c in tail if c != chosen)
        # log(1 + later / chosen), without the overflow of the quotient.
        gap = (top - s[chosen]) + math.log(later) if later else -math.inf
        rows[n] += alpha * float(np.logaddexp(0.0, gap))
        for c in tail:
            p = math.exp(s[c] - top) / (later + math.exp(s[chosen] - top))
            gradient[n, c] += alpha * p / len(rows)
        gradient[n, chosen] -= alpha / len(rows)
    answer = case if weights == "teacher" else case.answers["uniform"]
    np.testing.assert_allclose(answer.loss_per_row, rows, rtol=1e-13)
    np.testing.assert_allclose(answer.loss, math.fsum(rows) / len(rows), rtol=1e-13)
    np.testing.assert_allclose(answer.gradient, gradient, rtol=0, atol=1e-14)


@by_id
def test_plain_torch_stays_within_the_float64_tolerance(case):
    s = torch.tensor(case.student_logits, requires_grad=True)
    keys = torch.tensor(case.teacher_logits)
    w = torch.softmax(keys / case.temperature, -1)
    keys[torch.arange(len(keys)), torch.tensor(case.labels)] = torch.inf
    order = keys.argsort(dim=-1, descending=True, stable=True)
    x = s.gather(1, order)
    loss = (w.gather(1, order) * (x.flip(-1).logcumsumexp(-1).flip(-1) - x)).sum(-1).mean()
    (gradient,) = torch.autograd.grad(loss, s)
    allowed = case.tolerance["float64"]
    extra = max(1.0, case.scale / 100.0)  # Beyond 100 the tolerance no longer grows.
    atol = allowed["absolute"] * extra
    np.testing.assert_allclose(loss.item(), case.loss, rtol=allowed["relative"], atol=atol)
    np.testing.assert_allclose(gradient, case.gradient, rtol=allowed["relative"], atol=atol)


def test_uniform_loss_of_three_classes_is_the_likelihood_by_enumeration():
    case = cases()[0]
    s = case.student_logits[0]
    likelihood = {}
    for order in permutations(range(3)):
        left, p = list(order), 1.0
        while left:
            p *= math.exp(s[left[0]]) / sum(math.exp(s[c]) for c in left)
            left = left[1:]
        likelihood[order] = p
    assert math.isclose(sum(likelihood.values()), 1.0)
    assert math.isclose(
        3 * case.answers["uniform"].loss, -math.log(likelihood[2, 1, 0]), rel_tol=1e-12
    )
