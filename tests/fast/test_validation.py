"""The fast loss refuses what `losses` refuses, in the same words."""

from math import inf, nan

import numpy as np
import pytest
import torch

from pld_edu import fast, losses
from tests.support import bad_input

CALLS = [call for call in bad_input.refused_calls(losses) if call[1] == "pld_loss"]


def tensors(arguments):
    """Lists to tensors, floats to float64; a name of weights stays as it is."""
    converted = dict(arguments)
    for name in ("student_logits", "teacher_logits", "labels", "weights"):
        if name in converted and not isinstance(converted[name], str):
            value = torch.tensor(converted[name])
            converted[name] = value.double() if value.is_floating_point() else value
    return converted


@pytest.mark.parametrize(
    ("arguments", "message"), [pytest.param(*call[2:], id=call[0]) for call in CALLS]
)
def test_the_loss_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        fast.pld_loss(**tensors(arguments))


def test_it_accepts_what_the_bad_inputs_are_made_from():
    assert fast.pld_loss(**tensors(bad_input.GOOD)).isfinite()


@pytest.mark.parametrize("where", [(0, 0), (0, 6), (1, 3), (1, 6)])
@pytest.mark.parametrize("name", ["student_logits", "teacher_logits"])
@pytest.mark.parametrize("value", [nan, -nan, inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_no_bad_value_slips_through_the_cheap_check(dtype, value, name, where):
    """At the label, first and last in the ranking, in any dtype."""
    s = torch.linspace(-1, 1, 14).reshape(2, 7).to(dtype)
    arguments = {"student_logits": s, "teacher_logits": -s, "labels": torch.tensor([3, 3])}
    arguments[name] = arguments[name].clone()
    arguments[name][where] = value
    with pytest.raises(ValueError, match=rf"{name} must be finite.*at index \[{where[0]}, "):
        fast.pld_loss(**arguments)


def test_indices_in_messages_are_those_of_the_tensor_that_came():
    s = torch.zeros(2, 3, 4)
    s[1, 2, 3] = nan
    y = torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(ValueError, match=r"got nan at index \[1, 2, 3\]"):
        fast.pld_loss(s, torch.zeros(2, 3, 4), y)
    with pytest.raises(ValueError, match=r"got nan at index \[3\]"):
        fast.pld_loss(s[1, 2], torch.zeros(4), y[0, 0])


@pytest.mark.parametrize("transform", ["compile", "vmap", "grad"])
@pytest.mark.parametrize("bad", ["values", "label"])
def test_values_are_checked_wherever_they_are(transform, bad):
    arguments = tensors(bad_input.GOOD)
    if bad == "values":
        arguments["student_logits"][0, 1] = nan
    else:
        arguments["labels"][0] = 3
    loss = {
        "compile": torch.compile(fast.pld_loss, backend="aot_eager"),
        "vmap": torch.vmap(fast.pld_loss),
        "grad": torch.func.grad(fast.pld_loss),
    }[transform]
    with pytest.raises(ValueError, match=r"student_logits must be finite|labels must lie"):
        loss(*arguments.values())


def test_empty_batch_has_no_mean():
    s, y = torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)
    with pytest.raises(ValueError, match=r"the batch is empty \(0 rows\).*skip it"):
        fast.pld_loss(s, s, y)


@pytest.mark.parametrize("argument", bad_input.GOOD)
def test_numpy_arrays_are_not_taken_for_tensors(argument):
    given = tensors(bad_input.GOOD)
    given[argument] = given[argument].numpy()
    with pytest.raises(ValueError, match=f"{argument} must be a torch.Tensor, got ndarray"):
        fast.pld_loss(**given)


@pytest.mark.parametrize("weights", [None, [[1.0, 0.0, 0.0]] * 2, np.ones((2, 3))])
def test_weights_must_be_a_name_or_a_tensor(weights):
    with pytest.raises(ValueError, match=r"weights must be a torch.Tensor, got"):
        fast.pld_loss(**tensors(bad_input.GOOD), weights=weights)


def test_the_first_bad_weight_is_named():
    weights = torch.tensor([[1.0, 0.0, 0.0], [0.5, -0.25, 0.0]])
    with pytest.raises(ValueError, match=r"got -0.25 at index \[1, 1\]"):
        fast.pld_loss(**tensors(bad_input.GOOD), weights=weights)


def test_shapes_and_types_are_checked_where_values_cannot_be():
    s, y = torch.zeros(2, 3, device="meta"), torch.zeros(2, dtype=torch.long, device="meta")
    for arguments, message in (
        ((s, s[:1], y), "same shape"),
        ((s, s, y[:1]), "one entry per row"),
        ((s, s, y.float()), "integer class indices"),
    ):
        with pytest.raises(ValueError, match=message):
            fast.pld_loss(*arguments)
    with pytest.raises(ValueError, match="one of"):
        fast.pld_loss(s, s, y, weights="none")


@pytest.mark.parametrize("temperature", [0, -1.0, nan, inf, "4", None])
def test_the_module_refuses_a_temperature_when_it_is_made(temperature):
    with pytest.raises(ValueError, match="temperature must be "):
        fast.PLDLoss(temperature=temperature)
