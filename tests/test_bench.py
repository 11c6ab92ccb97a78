"""What is measured is what it is called; the shape of the result; nothing here depends on time."""

import json
from math import prod

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pld_edu import cli, losses, reference
from pld_edu.bench import benchmark, contenders, measure, report, steps, training_step
from pld_edu.bench.figure import STYLES, costs

SHAPE = (6, 9)
TAU = contenders.TEMPERATURE


def in_float64():
    """A batch without ties."""
    return contenders.random_batch(SHAPE, dtype=torch.float64)


@pytest.fixture(scope="module")
def result():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_step, "BATCH", 2)
        return benchmark.run([SHAPE], rounds=1, quiet=True)


def test_the_listing_is_pld():
    s, t, y = in_float64()
    expected = reference.pld_loss(s.detach(), t, y, temperature=TAU)
    assert contenders.listing(s, t, y).item() == pytest.approx(expected, rel=1e-12)


def test_plain_kd_is_kd():
    s, t, y = in_float64()
    expected = reference.kd_loss(s.detach(), t, temperature=TAU)
    assert contenders.plain_kd(s, t, y).item() == pytest.approx(expected, rel=1e-12)


PLD = ("listing", "losses", "fast", "fast, cached targets")


@pytest.mark.parametrize("name", PLD)
def test_contenders_give_the_gradient_of_pld(name):
    batch = contenders.random_batch(SHAPE)
    s, t, y = (z.detach().double() if z.is_floating_point() else z for z in batch)
    expected = reference.pld_gradient(s, t, y, temperature=TAU)
    gradient = contenders.CONTENDERS[name](batch)()
    np.testing.assert_allclose(gradient, expected, atol=1e-6 * abs(expected).max())


@pytest.mark.parametrize("name", steps.STEPS)
def test_steps_give_the_gradient_of_pld(name):
    batch = contenders.random_batch(SHAPE)
    s, t, y = (z.detach().double() if z.is_floating_point() else z for z in batch)
    expected = reference.pld_gradient(s, t, y, temperature=TAU)
    np.testing.assert_allclose(steps.STEPS[name](batch)(), expected, atol=1e-6)


def test_the_other_contenders_give_their_own_gradients():
    batch = contenders.random_batch(SHAPE)
    s, t, y = batch
    log_q, p = (s / TAU).log_softmax(1), (t / TAU).softmax(1)
    expected = {
        "cross-entropy": F.cross_entropy(s, y),
        "KD, plain float32": losses.kd_loss(s, t, temperature=TAU),
        "KD": TAU**2 * F.kl_div(log_q, p, reduction="batchmean"),
        "DIST": losses.DISTLoss(TAU, ce_weight=0.0, beta=1.0, gamma=1.0)(s, t, y),
        "DKD": losses.DKDLoss(TAU, ce_weight=0.0)(s, t, y),
    }
    assert set(expected) | set(PLD) | {"fused kernel"} == set(contenders.CONTENDERS)
    for name, loss in expected.items():
        (slope,) = torch.autograd.grad(loss, s)
        np.testing.assert_allclose(contenders.CONTENDERS[name](batch)(), slope, atol=1e-6)


def test_the_order_of_the_steps_keeps_the_tie_rule():
    t = torch.tensor([[1.0, 3.0, 1.0, -2.0, 1.0], [-1.0, -2.0, -1.0, 0.0, -2.0]])
    y = torch.tensor([3, 1])
    ranking = losses.teacher_ranking(t, y)
    assert steps.label_last(t, y).flip(1).tolist() == ranking.tolist()
    distinct = contenders.random_batch(SHAPE)
    orders = [f(*distinct[1:]).tolist() for f in (steps.label_last, steps.listing_order)]
    assert orders[0] == orders[1]


@pytest.mark.parametrize(
    ("make", "elements"),
    [
        (lambda: torch.ones(1000), 1000),
        (lambda: torch.ones(1000).exp().log(), 2000),
        (lambda: torch.from_numpy(np.ones(1000, np.float32)), 1000),
        (lambda: np.add(np.ones(1000, np.float32), 1), 2000),
    ],
    ids=["a tensor", "a tensor from a tensor", "an array as a tensor", "an array from an array"],
)
def test_peak_memory_counts_tensors_and_arrays(make, elements):
    assert 4 * elements <= measure.peak_memory(make) < 4 * elements + 1500


def test_peak_memory_of_cross_entropy():
    """log_softmax, the gradient of it, and the gradient: three times the logits."""
    batch = contenders.random_batch((50, 100))
    peak = measure.peak_memory(contenders.CONTENDERS["cross-entropy"](batch))
    assert peak / (4 * 50 * 100) == pytest.approx(3.0, abs=0.1)


def test_every_pass_is_called_in_every_round(monkeypatch):
    order = []
    monkeypatch.setattr(measure, "SAMPLE_SECONDS", 0.0)
    passes = {name: lambda name=name: order.append(name) for name in "abc"}
    rounds = []
    seconds = measure.interleaved(passes, 3, each_round=lambda: rounds.append(1))
    assert {name: len(values) for name, values in seconds.items()} == dict.fromkeys("abc", 3)
    assert "".join(order[6:]) == "aabbccbbccaaccaabb"  # one call that does not count, one that does
    assert len(rounds) == 3


def test_a_row_for_each_name(result):
    names = [name for name in contenders.CONTENDERS if name != "fused kernel"]
    found = [(tuple(row["shape"]), row["name"]) for row in result["rows"]]
    assert found == [(SHAPE, name) for name in names]
    for row in result["rows"]:
        units = ("milliseconds", "in_cross_entropies", "in_listings", "memory")
        assert all(row[key] > 0 for key in units)
        speed = 12 * prod(row["shape"]) / (1e6 * row["milliseconds"])
        assert row["gigabytes_per_second"] == pytest.approx(speed, rel=1e-3)
        if row["name"] == "cross-entropy":
            assert row["in_cross_entropies"] == 1.0
        if row["name"] == "listing":
            assert row["in_listings"] == 1.0
    assert (result["device"], result["threads"], result["rounds"]) == ("cpu", 1, 1)
    assert result["made_with"]["versions"]["torch"] == torch.__version__


def test_steps_and_parts_at_the_close_ups(monkeypatch):
    monkeypatch.setattr(benchmark, "CLOSE_UPS", (SHAPE,))
    batch = contenders.random_batch(SHAPE)
    found = [(group, name) for group, name, _ in benchmark._passes(batch)]
    assert [name for group, name in found if group == "steps"] == list(steps.STEPS)
    assert [name for group, name in found if group == "parts"] == list(steps.PARTS)


def test_a_training_step_and_its_loss(result):
    step = result["training_step"]
    assert list(step["step"]) == list(step["loss_alone"]) == list(training_step.LOSSES)
    assert all(value > 0 for value in (*step["step"].values(), step["teacher_forward"]))


def test_a_training_step_trains():
    """Its gradient is the one that autograd finds through network and loss together."""
    student = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5))
    images, soft = torch.randn(4, 3, 2, 2), torch.randn(4, 5)
    labels = torch.tensor([0, 1, 2, 3])
    loss = losses.pld_loss(student(images), soft, labels, temperature=TAU)
    weight = student[1].weight
    (slope,) = torch.autograd.grad(loss, weight)
    expected = weight.detach() - 0.1 * (slope + 5e-4 * weight.detach())
    training_step._step(student, images, soft, labels, "fast")()
    torch.testing.assert_close(weight.detach(), expected)


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with benchmark._threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"rounds": 0}, "rounds and threads must be at least 1, got 0 and 1"),
        ({"threads": 0}, "rounds and threads must be at least 1, got 9 and 0"),
        ({"device": "tpu"}, "device must be .* got 'tpu'"),
    ],
)
def test_bad_arguments(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        benchmark.run([SHAPE], **options)


def test_tables_hold_every_number(result):
    text = report.report(result)
    for row in result["rows"]:
        assert row["name"] in text
    assert "6x9" in text
    (line,) = (
        line
        for line in report.table(result["rows"], "in_listings").splitlines()
        if line.startswith("listing")
    )
    assert line.split() == ["listing", "1"]


def test_figure_shows_the_rows(result):
    figure = costs(result["rows"])
    for axes, key in zip(figure.axes, ("in_cross_entropies", "memory"), strict=True):
        lines = {line.get_label(): line.get_ydata() for line in axes.lines}
        for name, values in lines.items():
            assert list(values) == [row[key] for row in result["rows"] if row["name"] == name]
        assert len(lines) == len(contenders.CONTENDERS) - 1
    assert set(STYLES) == set(contenders.CONTENDERS)


def test_command_writes_json_and_figure(result, tmp_path, capsys, monkeypatch):
    asked = {}

    def run(shapes, **options):
        asked.update(options, shapes=shapes)
        return result

    monkeypatch.setattr(benchmark, "run", run)
    rows, picture = tmp_path / "rows.json", tmp_path / "costs.png"
    arguments = ["bench", "--shapes", "5x4", "6x9", "--rounds", "1", "--threads", "2"]
    assert cli.main([*arguments, "--json", str(rows), "--figure", str(picture)]) == 0
    assert asked == {"shapes": [(5, 4), (6, 9)], "rounds": 1, "device": "cpu", "threads": 2}
    assert json.loads(rows.read_text()) == result
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == report.report(result) + "\n"


def test_without_arguments_all_shapes(monkeypatch, result):
    asked = []
    monkeypatch.setattr(benchmark, "run", lambda shapes, **_: asked.append(shapes) or result)
    assert cli.main(["bench"]) == 0
    assert asked == [benchmark.SHAPES]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--shapes", "128"], "a shape is ROWSxCLASSES, at least 1x2, like 128x100; got '128'"),
        (["--shapes", "0x10"], "at least 1x2"),
        (["--rounds", "0"], "rounds and threads must be at least 1"),
        (
            ["--json", "nowhere/rows.json"],
            "there is no folder nowhere for rows.json; make it first",
        ),
    ],
)
def test_bad_command_lines_end_with_status_2(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["bench", *arguments])
    assert end.value.code == 2
    assert sentence in capsys.readouterr().err


def test_interrupted(monkeypatch, capsys):
    def run(shapes, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(benchmark, "run", run)
    assert cli.main(["bench"]) == 130
    assert capsys.readouterr().err == "\nInterrupted: nothing was written.\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_ends_with_status_2(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["bench", "--device", "cuda"])
    assert end.value.code == 2
    assert '"cuda" where there is a GPU' in capsys.readouterr().err
