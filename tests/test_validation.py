"""What `reference`, `losses` and `fast` refuse, and the sentence they say why."""

from math import inf, nan

import numpy as np
import pytest
import torch

from pld_edu import fast, losses, reference
from tests.support import bad_input
from tests.support.bad_input import GOOD, as_given

PACKAGES = [reference, losses, fast]
BY_NAME = {package.__name__.removeprefix("pld_edu."): package for package in PACKAGES}
CALLS = [
    pytest.param(package, *call[1:], id=f"{name}.{call[0]}")
    for name, package in BY_NAME.items()
    for call in bad_input.refused_calls(package)
]
LOSSES = [(package, name) for package in PACKAGES for name in bad_input.functions(package)]
OF_TENSORS = [(package, name) for package, name in LOSSES if package is not reference]
MODULES = [losses.PLDLoss, losses.KDLoss, losses.DISTLoss, losses.DKDLoss, fast.PLDLoss]
both = pytest.mark.parametrize("package", [reference, losses], ids=["reference", "losses"])
tensors = pytest.mark.parametrize("package", [losses, fast], ids=["losses", "fast"])


@pytest.mark.parametrize(("package", "function", "arguments", "message"), CALLS)
def test_losses_refuse(package, function, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(package, function)(**as_given(package, arguments))


@pytest.mark.parametrize(("package", "name"), LOSSES)
def test_every_loss_accepts_what_the_bad_inputs_are_made_from(package, name):
    arguments = {k: GOOD[k] for k in bad_input.takes(package, name)}
    assert np.isfinite(np.asarray(getattr(package, name)(**as_given(package, arguments)))).all()


@pytest.mark.parametrize(("package", "name"), LOSSES)
def test_empty_batch_has_no_mean(package, name):
    empty = {
        "student_logits": np.zeros((0, 3)),
        "teacher_logits": np.zeros((0, 3)),
        "labels": np.zeros(0, int),
    }
    arguments = as_given(package, {k: empty[k] for k in bad_input.takes(package, name)})
    loss = getattr(package, name)
    with pytest.raises(ValueError, match=r"the batch is empty \(0 rows\).*skip it"):
        loss(**arguments)
    if name != "dist_loss":
        assert np.sum(np.asarray(loss(**arguments, reduction="sum"))) == 0
        assert len(loss(**arguments, reduction="none")) == 0


@both
@pytest.mark.parametrize("name", ["log_likelihood", "log_likelihood_gradient"])
@pytest.mark.parametrize(("scores", "ranking", "top", "message"), bad_input.BAD_LIKELIHOODS)
def test_likelihood_refuses(package, name, scores, ranking, top, message):
    if package is losses:
        scores, ranking = torch.tensor(scores), torch.tensor(ranking)
    with pytest.raises(ValueError, match=message):
        getattr(package, name)(scores, ranking, top)


@pytest.mark.parametrize(
    ("scores", "ranking", "message"),
    [
        (np.zeros(3), torch.arange(3), "scores must be a torch.Tensor, got ndarray"),
        (torch.zeros(3), [0, 1, 2], "ranking must be a torch.Tensor, got list"),
        (torch.zeros(2), torch.arange(3), "ranking must hold at most 2 items, got 3"),
    ],
)
def test_likelihood_of_tensors_refuses_other_types_and_long_rankings(scores, ranking, message):
    with pytest.raises(ValueError, match=message):
        losses.log_likelihood(scores, ranking)


@both
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
        ([True, False], 0, "teacher_logits must be (real numbers|floating point)"),
    ],
)
def test_teacher_ranking_refuses(package, t, y, message):
    arguments = as_given(package, {"teacher_logits": t, "labels": y})
    with pytest.raises(ValueError, match=message):
        package.teacher_ranking(**arguments)


@both
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "temperature must be positive and finite, got 0"),
        ({"temperature": "1"}, "temperature must be a number, got str"),
        ({"weights": "teachers"}, "weights must be one of .*got 'teachers'"),
        ({"weights": [1.0, -1.0]}, "weights must be finite and not negative"),
        ({"weights": [[1.0, 0.0]]}, r"shape of the logits, \(2,\), got \(1, 2\)"),
    ],
)
def test_rank_weights_refuse(package, options, message):
    t, ranking = as_given(package, {"teacher_logits": [1.0, 0.0], "labels": [0, 1]}).values()
    with pytest.raises(ValueError, match=message):
        package.rank_weights(t, ranking, **as_given(package, options))


@both
@pytest.mark.parametrize(
    ("t", "ranking"),
    [([1.0, nan], [0, 1]), ([1.0, 0.0], [0, 0]), ([1.0, 0.0], [0, 2]), ([1.0, 0.0], [0])],
)
def test_rank_weights_refuse_what_is_no_ranking_of_the_teachers_classes(package, t, ranking):
    t, ranking = as_given(package, {"teacher_logits": t, "labels": ranking}).values()
    with pytest.raises(ValueError, match=r"teacher_logits must|ranking must"):
        package.rank_weights(t, ranking)


@pytest.mark.parametrize(
    ("package", "name", "argument"),
    [(*loss, argument) for loss in OF_TENSORS for argument in bad_input.takes(*loss)],
)
def test_numpy_arrays_are_not_taken_for_tensors(package, name, argument):
    given = as_given(package, {k: GOOD[k] for k in bad_input.takes(package, name)})
    given[argument] = given[argument].numpy()
    with pytest.raises(ValueError, match=f"{argument} must be a torch.Tensor, got ndarray"):
        getattr(package, name)(**given)


def test_the_way_out_for_numpy_arrays_is_named():
    with pytest.raises(ValueError, match=r"pld_edu.reference, or through torch.as_tensor"):
        losses.kd_loss(np.zeros((2, 3)), np.zeros((2, 3)))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_logits_must_be_floating_point(dtype):
    z = torch.ones(2, 3, dtype=dtype)
    message = f"student_logits must be floating point, got dtype {dtype}"
    with pytest.raises(ValueError, match=message):
        losses.kd_loss(z, z)


@tensors
@pytest.mark.parametrize("weights", [None, [[1.0, 0.0, 0.0]] * 2, np.ones((2, 3))])
def test_weights_must_be_a_name_or_a_tensor(package, weights):
    with pytest.raises(ValueError, match=r"weights must be a torch.Tensor, got"):
        package.pld_loss(**as_given(package, GOOD), weights=weights)


@tensors
def test_the_first_bad_weight_is_named(package):
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.5, -0.25, 0.0]])
    with pytest.raises(ValueError, match=r"got -0.25 at index \[1, 1\]"):
        package.pld_loss(**as_given(package, GOOD), weights=weights)


@tensors
@pytest.mark.parametrize("where", [(0, 0), (0, 6), (1, 3), (1, 6)])
@pytest.mark.parametrize("name", ["student_logits", "teacher_logits"])
@pytest.mark.parametrize("value", [nan, -nan, inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_no_bad_value_slips_through(package, dtype, value, name, where):
    """At the label, first and last in the ranking, in any dtype."""
    s = torch.linspace(-1, 1, 14).reshape(2, 7).to(dtype)
    arguments = {"student_logits": s, "teacher_logits": -s, "labels": torch.tensor([3, 3])}
    arguments[name] = arguments[name].clone()
    arguments[name][where] = value
    with pytest.raises(ValueError, match=rf"{name} must be finite.*at index \[{where[0]}, "):
        package.pld_loss(**arguments)


@tensors
def test_indices_in_messages_are_those_of_the_tensor_that_came(package):
    s = torch.zeros(2, 3, 4)
    s[1, 2, 3] = nan
    y = torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match=r"got nan at index \[1, 2, 3\]"):
        package.pld_loss(s, torch.zeros(2, 3, 4), y)
    with pytest.raises(ValueError, match=r"got nan at index \[3\]"):
        package.pld_loss(s[1, 2], torch.zeros(4), y[0, 0])


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("temperature", [0, -1.0, nan, inf, "4", None])
def test_modules_refuse_a_temperature_when_they_are_made(module, temperature):
    with pytest.raises(ValueError, match="temperature must be "):
        module(temperature=temperature)


@tensors
def test_pld_module_refuses_a_reduction_when_it_is_made_and_weights_when_called(package):
    with pytest.raises(ValueError, match=r"reduction must be one of .*got 'batchmean'"):
        package.PLDLoss(reduction="batchmean")
    with pytest.raises(ValueError, match=r"weights must be one of .*got 'top'"):
        package.PLDLoss(weights="top")(**as_given(package, GOOD))


@pytest.mark.parametrize("module", MODULES)
def test_modules_refuse_what_their_functions_refuse(module):
    arguments = as_given(losses, GOOD)
    arguments["student_logits"][0, 1] = nan
    with pytest.raises(ValueError, match=r"student_logits must be finite.*nan at index \[0, 1\]"):
        module()(**arguments)


@tensors
@pytest.mark.filterwarnings("error")
def test_refusing_a_student_that_requires_a_gradient_warns_of_nothing(package):
    arguments = as_given(package, GOOD)
    arguments["student_logits"][0, 1] = nan
    arguments["student_logits"].requires_grad_()
    torch.set_warn_always(True)
    try:
        with pytest.raises(ValueError, match="got nan at index"):
            package.pld_loss(**arguments)
    finally:
        torch.set_warn_always(False)


@tensors
@pytest.mark.parametrize("bad", ["values", "label"])
def test_checks_of_values_see_through_grad(package, bad):
    """Under `torch.func.grad` values can be read, so they are checked."""
    arguments = as_given(package, GOOD)
    if bad == "values":
        arguments["student_logits"][0, 1] = inf
    else:
        arguments["labels"][0] = 3
    with pytest.raises(ValueError, match=r"student_logits must be finite|labels must lie"):
        torch.func.grad(package.pld_loss)(*arguments.values())


@tensors
def test_shapes_and_types_are_checked_where_values_cannot_be(package):
    s, y = torch.zeros(2, 3, device="meta"), torch.zeros(2, dtype=torch.long, device="meta")
    for arguments, message in (
        ((s, s[:1], y), "same shape"),
        ((s, s, y[:1]), "one entry per row"),
        ((s, s, y.float()), "integer class indices"),
    ):
        with pytest.raises(ValueError, match=message):
            package.pld_loss(*arguments)
    with pytest.raises(ValueError, match="one of"):
        package.pld_loss(s, s, y, weights="none")
