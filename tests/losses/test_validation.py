"""What the losses refuse, the sentence they say why, and where they cannot look at values."""

from math import inf, nan

import numpy as np
import pytest
import torch

from pld_edu import losses
from tests.support import bad_input

CALLS = bad_input.refused_calls(losses, extra=("pld_gradient",))


TENSORS = ("student_logits", "teacher_logits", "labels", "weights")


def tensors(arguments):
    """Lists to tensors, floats to float64; a name of weights stays as it is."""
    converted = dict(arguments)
    for name in TENSORS:
        if name in converted and not isinstance(converted[name], str):
            value = torch.tensor(converted[name])
            converted[name] = value.double() if value.is_floating_point() else value
    return converted


def empty_batch(name):
    """The arguments that the loss takes, with no rows."""
    arguments = {
        "student_logits": torch.zeros(0, 3),
        "teacher_logits": torch.zeros(0, 3),
        "labels": torch.zeros(0, dtype=torch.long),
    }
    return {k: v for k, v in arguments.items() if k in bad_input.takes(losses, name)}


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [pytest.param(*call[1:], id=call[0]) for call in CALLS],
)
def test_losses_refuse(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(losses, function)(**tensors(arguments))


def test_every_loss_accepts_what_the_bad_inputs_are_made_from():
    for _, function, arguments, _ in CALLS:
        kept = {k: v for k, v in bad_input.GOOD.items() if k in arguments}
        assert getattr(losses, function)(**tensors(kept)).isfinite().all()


@pytest.mark.parametrize("name", [*bad_input.LOSSES, "pld_gradient"])
def test_empty_batch_has_no_mean(name):
    empty = empty_batch(name)
    shape = (0, 3) if name == "pld_gradient" else (0,)
    with pytest.raises(ValueError, match=r"the batch is empty \(0 rows\).*skip it"):
        getattr(losses, name)(**empty)
    if name != "dist_loss":
        assert getattr(losses, name)(**empty, reduction="sum").sum().item() == 0
        assert getattr(losses, name)(**empty, reduction="none").shape == shape


@pytest.mark.parametrize(
    ("name", "argument"),
    [(name, a) for name in bad_input.LOSSES for a in bad_input.takes(losses, name)],
)
def test_numpy_arrays_are_not_taken_for_tensors(name, argument):
    given = tensors({k: bad_input.GOOD[k] for k in bad_input.takes(losses, name)})
    given[argument] = given[argument].numpy()
    with pytest.raises(ValueError, match=f"{argument} must be a torch.Tensor, got ndarray"):
        getattr(losses, name)(**given)


def test_the_way_out_for_numpy_arrays_is_named():
    with pytest.raises(ValueError, match=r"pld_edu.reference, or through torch.as_tensor"):
        losses.kd_loss(np.zeros((2, 3)), np.zeros((2, 3)))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_logits_must_be_floating_point(dtype):
    z = torch.ones(2, 3, dtype=dtype)
    message = f"student_logits must be floating point, got dtype {dtype}"
    with pytest.raises(ValueError, match=message):
        losses.kd_loss(z, z)


@pytest.mark.parametrize("weights", [None, [[1.0, 0.0, 0.0]] * 2, np.ones((2, 3))])
def test_weights_must_be_a_name_or_a_tensor(weights):
    arguments = tensors(bad_input.GOOD)
    with pytest.raises(ValueError, match=r"weights must be a torch.Tensor, got"):
        losses.pld_loss(**arguments, weights=weights)


def test_the_first_bad_weight_is_named():
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.5, -0.25, 0.0]])
    with pytest.raises(ValueError, match=r"got -0.25 at index \[1, 1\]"):
        losses.pld_loss(**tensors(bad_input.GOOD), weights=weights)


@pytest.mark.parametrize("f", [losses.log_likelihood, losses.log_likelihood_gradient])
@pytest.mark.parametrize(("scores", "ranking", "top", "message"), bad_input.BAD_LIKELIHOODS)
def test_likelihood_refuses(f, scores, ranking, top, message):
    with pytest.raises(ValueError, match=message):
        f(torch.tensor(scores), torch.tensor(ranking), top)


@pytest.mark.parametrize(
    ("scores", "ranking", "message"),
    [
        (np.zeros(3), torch.arange(3), "scores must be a torch.Tensor, got ndarray"),
        (torch.zeros(3), [0, 1, 2], "ranking must be a torch.Tensor, got list"),
        (torch.zeros(2), torch.arange(3), "ranking must hold at most 2 items, got 3"),
    ],
)
def test_likelihood_refuses_other_types_and_long_rankings(scores, ranking, message):
    with pytest.raises(ValueError, match=message):
        losses.log_likelihood(scores, ranking)


@pytest.mark.parametrize(
    ("t", "y", "message"),
    [
        ([1.0, nan], 0, r"teacher_logits must be finite.*got nan at index \[1\]"),
        ([inf, 1.0], 0, r"teacher_logits must be finite.*got inf at index \[0\]"),
        ([0.0, 1.0], 2, r"labels must lie in 0\.\.1 for 2 classes, got 2"),
        ([0.0, 1.0], -100, r"labels must lie in 0\.\.1 for 2 classes, got -100"),
        ([0.0, 1.0], 0.0, "labels must be integer class indices"),
        ([0.0, 1.0], [0], r"labels must have one entry per row of logits, shape \(\), got"),
        ([], 0, "C >= 1 classes"),
        ([0, 1], 0, "teacher_logits must be floating point"),
    ],
)
def test_teacher_ranking_refuses(t, y, message):
    with pytest.raises(ValueError, match=message):
        losses.teacher_ranking(torch.tensor(t), torch.tensor(y))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "temperature must be positive and finite, got 0"),
        ({"temperature": "1"}, "temperature must be a number, got str"),
        ({"weights": "teachers"}, "weights must be one of .*got 'teachers'"),
        ({"weights": torch.tensor([1.0, -1.0])}, "weights must be finite and not negative"),
        ({"weights": torch.ones(1, 2)}, r"shape of the logits, \(2,\), got \(1, 2\)"),
    ],
)
def test_rank_weights_refuse(options, message):
    with pytest.raises(ValueError, match=message):
        losses.rank_weights(torch.tensor([1.0, 0.0]), torch.tensor([0, 1]), **options)


@pytest.mark.parametrize(
    ("t", "ranking"),
    [([1.0, nan], [0, 1]), ([1.0, 0.0], [0, 0]), ([1.0, 0.0], [0, 2]), ([1.0, 0.0], [0])],
)
def test_rank_weights_refuse_what_is_no_ranking_of_the_teachers_classes(t, ranking):
    with pytest.raises(ValueError, match=r"teacher_logits must|ranking must"):
        losses.rank_weights(torch.tensor(t), torch.tensor(ranking))


MODULES = [losses.PLDLoss, losses.KDLoss, losses.DISTLoss, losses.DKDLoss]


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("temperature", [0, -1.0, nan, inf, "4", None])
def test_modules_refuse_a_temperature_when_they_are_made(module, temperature):
    with pytest.raises(ValueError, match="temperature must be "):
        module(temperature=temperature)


def test_pld_module_refuses_a_reduction_when_it_is_made_and_weights_when_called():
    with pytest.raises(ValueError, match=r"reduction must be one of .*got 'batchmean'"):
        losses.PLDLoss(reduction="batchmean")
    with pytest.raises(ValueError, match=r"weights must be one of .*got 'top'"):
        losses.PLDLoss(weights="top")(**tensors(bad_input.GOOD))


@pytest.mark.parametrize("module", MODULES)
def test_modules_refuse_what_their_functions_refuse(module):
    arguments = tensors(bad_input.GOOD)
    arguments["student_logits"][0, 1] = nan
    with pytest.raises(ValueError, match=r"student_logits must be finite.*nan at index \[0, 1\]"):
        module()(**arguments)


@pytest.mark.filterwarnings("error")
def test_refusing_a_student_that_requires_a_gradient_warns_of_nothing():
    arguments = tensors(bad_input.GOOD)
    arguments["student_logits"][0, 1] = nan
    arguments["student_logits"].requires_grad_()
    torch.set_warn_always(True)
    try:
        with pytest.raises(ValueError, match="got nan at index"):
            losses.pld_loss(**arguments)
    finally:
        torch.set_warn_always(False)


@pytest.mark.parametrize("bad", ["values", "label"])
def test_checks_of_values_see_through_grad(bad):
    """Under `torch.func.grad` values can be read, so they are checked."""
    arguments = tensors(bad_input.GOOD)
    if bad == "values":
        arguments["student_logits"][0, 1] = inf
    else:
        arguments["labels"][0] = 3
    with pytest.raises(ValueError, match=r"student_logits must be finite|labels must lie"):
        torch.func.grad(losses.pld_loss)(*arguments.values())


def test_shapes_and_types_are_checked_where_values_cannot_be():
    s, y = torch.zeros(2, 3, device="meta"), torch.zeros(2, dtype=torch.long, device="meta")
    with pytest.raises(ValueError, match="same shape"):
        losses.pld_loss(s, s[:1], y)
    with pytest.raises(ValueError, match="one entry per row"):
        losses.pld_loss(s, s, y[:1])
    with pytest.raises(ValueError, match="integer class indices"):
        losses.pld_loss(s, s, y.float())
    with pytest.raises(ValueError, match="one of"):
        losses.pld_loss(s, s, y, weights="none")
