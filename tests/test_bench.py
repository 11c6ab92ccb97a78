"""What is measured is what it is called; the shape of the result; nothing here depends on time."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pld_edu import bench, cli, losses, reference
from pld_edu.results import plots

SHAPE = (6, 9)
TAU = bench.TEMPERATURE
PLD = ("listing", "losses", "fast", "fast, cached targets")
RECORDED = Path(__file__).parents[1] / "notebooks" / "results" / "bench" / "cpu.json"


def in_float64():
    """A batch without ties."""
    student, teacher, labels = bench.random_batch(SHAPE)
    return student.detach().double(), teacher.double(), labels


@pytest.fixture(scope="module")
def result():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "SAMPLE_SECONDS", 0.0)
        patch.setitem(bench.STEP, "batch", 2)
        return bench.run([SHAPE], rounds=1)


def test_the_listing_is_pld():
    batch = in_float64()
    expected = reference.pld_loss(*batch, temperature=TAU)
    assert bench.paper_listing(*batch).item() == pytest.approx(expected, rel=1e-12)


def test_plain_kd_is_kd():
    s, t, _ = in_float64()
    expected = reference.kd_loss(s, t, temperature=TAU)
    assert bench.plain_kd(s, t).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", PLD)
def test_pld_by_any_name_has_the_gradient_of_pld(name):
    student, teacher, labels = bench.random_batch(SHAPE)
    expected = reference.pld_gradient(*in_float64(), temperature=TAU)
    gradient = bench._gradient(bench.LOSSES[name](teacher, labels), student)
    np.testing.assert_allclose(gradient, expected, atol=1e-6 * abs(expected).max())


def test_the_other_losses_have_their_own_gradients():
    s, t, y = bench.random_batch(SHAPE)
    log_q, p = (s / TAU).log_softmax(1), (t / TAU).softmax(1)
    expected = {
        "cross-entropy": F.cross_entropy(s, y),
        "KD, plain float32": losses.kd_loss(s, t, temperature=TAU),
        "KD": TAU**2 * F.kl_div(log_q, p, reduction="batchmean"),
        "DIST": losses.DISTLoss(TAU, ce_weight=0.0, beta=1.0, gamma=1.0)(s, t, y),
        "DKD": losses.DKDLoss(TAU, ce_weight=0.0)(s, t, y),
    }
    assert set(expected) | set(PLD) == set(bench.LOSSES)
    for name, loss in expected.items():
        (gradient,) = torch.autograd.grad(loss, s)
        found = bench._gradient(bench.LOSSES[name](t, y), s)
        np.testing.assert_allclose(found, gradient, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "elements"),
    [
        (lambda s: torch.ones(1000), 1000),
        (lambda s: torch.ones(1000).exp().log(), 2000),
        (lambda s: torch.from_numpy(np.ones(1000, np.float32)), 1000),
        (lambda s: torch.from_numpy(np.add(np.ones(1000, np.float32), 1)), 2000),
    ],
    ids=["a tensor", "a tensor from a tensor", "an array as a tensor", "an array from an array"],
)
def test_peak_memory_counts_tensors_and_arrays(make, elements):
    peak = bench.peak_memory(make, torch.zeros(1))
    assert 4 * elements <= peak < 4 * elements + 1500


def test_peak_memory_of_cross_entropy():
    """log_softmax, the gradient of it, and the gradient: three times the logits."""
    student, *others = bench.random_batch((50, 100))
    peak = bench.peak_memory(bench.LOSSES["cross-entropy"](*others), student)
    assert peak / (4 * 50 * 100) == pytest.approx(3.0, abs=0.1)


class ThreeArraysThenTwoTensors(torch.autograd.Function):
    """What the forward and the backward pass hold for a moment."""

    @staticmethod
    def forward(ctx, s):
        np.ones((3, len(s)), np.float32)
        return s.new_zeros(())

    @staticmethod
    def backward(ctx, upstream):
        return torch.ones(1000).exp()


def test_peak_memory_is_that_of_the_larger_half():
    student = torch.zeros(1000, requires_grad=True)
    peak = bench.peak_memory(ThreeArraysThenTwoTensors.apply, student)
    assert 4 * 3000 <= peak < 4 * 3000 + 2500


def test_every_call_is_made_in_every_round(monkeypatch):
    order = []
    monkeypatch.setattr(bench, "SAMPLE_SECONDS", 0.0)
    calls = {name: lambda name=name: order.append(name) for name in "abc"}
    seconds = bench.interleave(calls, 3, "cpu", 1, "")
    assert {name: len(values) for name, values in seconds.items()} == dict.fromkeys("abc", 3)
    assert "".join(order) == "aabbccbbccaaccaabb"  # one call that does not count, one that does


def test_ratios_are_medians_over_rounds(monkeypatch):
    """Round by round: the machine is ten times slower in the second."""
    seconds = {
        "cross-entropy": [1.0, 10.0, 2.0],
        "listing": [4.0, 30.0, 10.0],
        "x": [2.0, 90.0, 3.0],
    }
    monkeypatch.setattr(bench, "interleave", lambda *_: seconds)
    x = {"x": lambda t, y: lambda s: s.detach().exp()}
    chosen = {name: bench.LOSSES[name] for name in ("cross-entropy", "listing")} | x
    rows = {row["name"]: row for row in bench.compare(SHAPE, chosen, 3, "cpu", 1)}
    assert [rows[name]["milliseconds"] for name in seconds] == [2000.0, 10000.0, 3000.0]
    assert [rows[name]["in_cross_entropies"] for name in seconds] == [1.0, 4.0, 2.0]
    assert [rows[name]["in_listings"] for name in seconds] == [0.25, 1.0, 0.5]
    assert [rows[name]["group"] for name in seconds] == ["losses", "losses", "others"]
    assert rows["x"]["gigabytes_per_second"] == pytest.approx(12 * 6 * 9 / 3.0 / 1e9, rel=1e-3)


def test_a_row_for_each_loss(result):
    found = [(row["group"], tuple(row["shape"]), row["name"]) for row in result["rows"]]
    assert found == [("losses", SHAPE, name) for name in bench.LOSSES]
    assert all(row["milliseconds"] > 0 and row["memory"] > 0 for row in result["rows"])
    assert (result["device"], result["threads"], result["rounds"]) == ("cpu", 1, 1)
    assert result["made_with"]["versions"]["torch"] == torch.__version__


def test_the_keys_are_those_of_the_recorded_rows(result):
    recorded = json.loads(RECORDED.read_text())
    assert list(result) == list(recorded)
    assert list(result["rows"][0]) == list(recorded["rows"][0])
    assert list(result["training_step"]) == list(recorded["training_step"])
    assert bench.report(recorded).count("1024x1000") == len(bench.TABLES)


def test_a_training_step_and_its_loss(result):
    step = result["training_step"]
    assert list(step["step"]) == list(step["loss_alone"]) == list(bench.STEP_LOSSES)
    assert all(value > 0 for value in (*step["step"].values(), step["teacher_forward"]))


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
        bench.run([SHAPE], **options)


def test_tables_hold_every_number(result):
    text = bench.report(result)
    assert all(row["name"] in text for row in result["rows"])
    assert text.count("6x9") == len(bench.TABLES)
    rows = [
        {"group": "losses", "shape": shape, "name": name, "memory": memory}
        for name, shape, memory in [("a", [2, 3], 1.2345), ("a", [4, 5], 678.9), ("b", [2, 3], 6.0)]
    ]
    rows += [{"group": "losses", "shape": [4, 5], "name": "b", "memory": 0.5}]
    rows += [{"group": "steps", "shape": [4, 5], "name": "c", "memory": 0.5}]
    lines = [line.split() for line in bench.table(rows, "memory").splitlines()]
    assert lines == [["2x3", "4x5"], ["a", "1.23", "679"], ["b", "6", "0.5"]]


def test_figure_shows_the_rows(result):
    figure = plots.costs(result["rows"])
    for axes, key in zip(figure.axes, ("in_cross_entropies", "memory"), strict=True):
        drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
        assert drawn == {row["name"]: [row[key]] for row in result["rows"]}
    assert set(plots.COST_STYLES) == set(bench.LOSSES)


def test_command_writes_json_and_figure(result, tmp_path, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(bench, "run", lambda *options: asked.append(options) or result)
    rows, picture = tmp_path / "rows.json", tmp_path / "costs.png"
    arguments = ["bench", "--shapes", "5x4", "6x9", "--rounds", "1", "--threads", "2"]
    assert cli.main([*arguments, "--json", str(rows), "--figure", str(picture)]) == 0
    assert asked == [([(5, 4), (6, 9)], 1, "cpu", 2)]
    assert json.loads(rows.read_text()) == result
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert capsys.readouterr().out == bench.report(result) + "\n"


def test_without_arguments_all_shapes(monkeypatch, result):
    asked = []
    monkeypatch.setattr(bench, "run", lambda *options: asked.append(options) or result)
    assert cli.main(["bench"]) == 0
    assert asked == [(bench.SHAPES, 9, "cpu", 1)]


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
    def run(*options):
        raise KeyboardInterrupt

    monkeypatch.setattr(bench, "run", run)
    assert cli.main(["bench"]) == 130
    assert capsys.readouterr().err == "\nInterrupted: nothing was written.\n"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_ends_with_status_2(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["bench", "--device", "cuda"])
    assert end.value.code == 2
    assert '"cuda" where there is a GPU' in capsys.readouterr().err
