"""The differentiable likelihood of a ranking against 60 digits, brute force, choix and autograd."""

from itertools import permutations
from math import exp, log, prod

import choix
import numpy as np
import pytest
import torch

from pld_edu import losses, reference
from tests.support import cases, exact
from tests.support.tolerances import BY_DTYPE, FLOAT64

SCORES = torch.tensor([0.3, -1.2, 2.0, 0.7], dtype=torch.float64)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scale", cases.SCALES)
@pytest.mark.parametrize(("listed", "top"), [(40, None), (40, 7), (12, None), (12, 3), (1, 1)])
def test_likelihood_and_gradient_in_60_digits(scale, listed, top, dtype):
    rng = np.random.default_rng([int(scale), listed])
    scores = torch.tensor(rng.normal(scale=scale, size=40).astype(dtype), requires_grad=True)
    for ranking in (torch.tensor(rng.permutation(40))[:listed], (-scores).argsort()[:listed]):
        truth, slope = exact.log_likelihood(scores.tolist(), ranking.tolist(), top)
        value = losses.log_likelihood(scores, ranking, top)
        (gradient,) = torch.autograd.grad(value, scores)
        by_formula = losses.log_likelihood_gradient(scores, ranking, top).detach()
        assert value.dtype == by_formula.dtype == scores.dtype
        assert exact.loss_error(value, truth) < BY_DTYPE[dtype].loss
        assert exact.gradient_error(gradient, slope) < BY_DTYPE[dtype].gradient
        assert exact.gradient_error(by_formula, slope) < BY_DTYPE[dtype].gradient


def test_all_rankings_have_the_product_of_their_choices():
    worth = SCORES.exp().tolist()
    rankings = list(permutations(range(4)))
    values = losses.log_likelihood(SCORES, torch.tensor(rankings))
    literal = [
        sum(log(worth[r[k]] / sum(worth[i] for i in r[k:])) for k in range(4)) for r in rankings
    ]
    np.testing.assert_allclose(values, literal, rtol=FLOAT64)
    assert values.exp().sum().item() == pytest.approx(1, rel=FLOAT64)


@pytest.mark.parametrize("top", [1, 2, 3])
def test_top_choices_are_a_marginal_of_full_rankings(top):
    worth = SCORES.exp().tolist()
    full = {
        r: prod(worth[r[k]] / sum(worth[i] for i in r[k:]) for k in range(4))
        for r in permutations(range(4))
    }
    for prefix in permutations(range(4), top):
        marginal = sum(p for ranking, p in full.items() if ranking[:top] == prefix)
        rest = [i for i in range(4) if i not in prefix]
        listed = losses.log_likelihood(SCORES, torch.tensor(prefix))
        whole = losses.log_likelihood(SCORES, torch.tensor([*prefix, *rest]), top=top)
        assert exp(listed) == pytest.approx(marginal, rel=FLOAT64)
        assert exp(whole) == pytest.approx(marginal, rel=FLOAT64)


def test_likelihood_is_choix():
    rng = np.random.default_rng(2)
    rankings = torch.tensor([rng.permutation(9).tolist() for _ in range(5)])
    scores = torch.tensor(rng.normal(size=9))
    theirs = choix.log_likelihood_rankings([tuple(r) for r in rankings.tolist()], scores.numpy())
    ours = losses.log_likelihood(scores, rankings).sum().item()
    assert ours == pytest.approx(theirs, rel=FLOAT64)


def test_leading_axes_broadcast_as_in_the_reference():
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(3, 1, 5))
    rankings = np.array([[0, 1, 2], [4, 2, 0]])
    ours = losses.log_likelihood(torch.tensor(scores), torch.tensor(rankings))
    assert ours.shape == (3, 2)
    for i in range(3):
        for j in range(2):
            truth = exact.log_likelihood(scores[i, 0].tolist(), rankings[j].tolist())[0]
            assert exact.loss_error(ours[i, j], truth) < FLOAT64
    np.testing.assert_allclose(ours, reference.log_likelihood(scores, rankings), rtol=FLOAT64)
    ours = losses.log_likelihood_gradient(torch.tensor(scores), torch.tensor(rankings), top=2)
    theirs = reference.log_likelihood_gradient(scores, rankings, top=2)
    np.testing.assert_allclose(ours, theirs, rtol=FLOAT64, atol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_scores_give_float32(dtype):
    scores = (100 * SCORES).to(dtype).requires_grad_()
    value = losses.log_likelihood(scores, torch.tensor([1, 3, 0, 2], dtype=torch.int32))
    value.backward()
    truth, slope = exact.log_likelihood(scores.tolist(), [1, 3, 0, 2])
    tolerance = BY_DTYPE[str(dtype).removeprefix("torch.")]
    by_formula = losses.log_likelihood_gradient(scores, torch.tensor([1, 3, 0, 2])).detach()
    assert value.dtype == by_formula.dtype == torch.float32
    assert exact.loss_error(value, truth) < tolerance.loss
    assert exact.gradient_error(scores.grad, slope) < tolerance.gradient
    assert exact.gradient_error(by_formula, slope) < BY_DTYPE["float32"].gradient


def test_derivatives_of_any_order():
    ranking = torch.tensor([2, 0, 3])

    def f(scores):
        return losses.log_likelihood(scores, ranking, top=2)

    def literal(scores):
        return scores[2] - scores.logsumexp(0) + scores[0] - scores[[0, 3, 1]].logsumexp(0)

    scores = SCORES.clone().requires_grad_()
    assert torch.autograd.gradcheck(f, scores)
    assert torch.autograd.gradgradcheck(f, scores)
    hessian = torch.func.hessian(f)(SCORES)
    np.testing.assert_allclose(hessian, torch.func.hessian(literal)(SCORES), rtol=0, atol=FLOAT64)


def test_vmap_over_rankings_and_over_scores():
    scores, rankings = torch.stack([SCORES, -SCORES]), torch.tensor([[0, 1, 2, 3], [3, 0, 2, 1]])
    expected = [
        float(exact.log_likelihood(s, r)[0])
        for s, r in zip(scores.tolist(), rankings.tolist(), strict=True)
    ]
    values = torch.vmap(losses.log_likelihood)(scores, rankings)
    np.testing.assert_allclose(values, expected, rtol=FLOAT64)
    slopes = torch.vmap(torch.func.grad(losses.log_likelihood))(scores, rankings)
    by_formula = torch.vmap(losses.log_likelihood_gradient)(scores, rankings)
    slope = exact.log_likelihood(scores[1].tolist(), rankings[1].tolist())[1]
    assert exact.gradient_error(slopes[1], slope) < FLOAT64
    assert exact.gradient_error(by_formula[1], slope) < FLOAT64


def test_item_out_of_range_under_vmap_raises():
    scores, rankings = torch.zeros(2, 3), torch.tensor([[0, 1, 2], [0, 1, 3]])
    with pytest.raises((RuntimeError, IndexError)):
        torch.vmap(losses.log_likelihood)(scores, rankings)
