"""The CUDA kernel: interpreted against 60 digits, compiled for two GPUs, run on one if there is.

Triton reads TRITON_INTERPRET while it is imported, so the interpreted kernel answers all `CALLS`
in a process of its own; the tests look at the answers.
"""

import os
import subprocess
import sys
from math import inf, nan

import numpy as np
import pytest
import torch

from pld_edu import fast, losses, reference
from pld_edu.fast import kernel, pld
from tests.support import cases, exact
from tests.support.tolerances import BY_DTYPE

FLOAT32 = BY_DTYPE["float32"]
HALVES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
needs_triton = pytest.mark.skipif(
    kernel.triton is None, reason="there is no Triton 3.3 or later for this platform"
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")


def interpreter(test):
    """A test of what the interpreter found, which takes seconds to find it."""
    return pytest.mark.slow(needs_triton(test))


# The grid of `cases.rows`, thinned, for the interpreter is slow.
GRID = [(10, scale, who) for scale in (1.0, 100.0, 1e4) for who in cases.STUDENTS]
GRID += [(2, 10.0, "agrees"), (2, 1e3, "reversed"), (100, 1.0, "differs"), (100, 1e4, "reversed")]


def call(s, t, y, temperature=1.0, dtype=torch.float32, reduction="none"):
    """Arguments of `kernel.live`."""
    s, t = (torch.as_tensor(z, dtype=torch.float64).to(dtype) for z in (s, t))
    return s, t, torch.as_tensor(y), temperature, reduction, -100


def tied(dtype):
    """A teacher of so few digits, or with so many zeros of both signs, that most classes tie."""
    rng = np.random.default_rng(5)
    s, t = rng.normal(size=(1, 40)) * 3, np.zeros((1, 40))
    if dtype in HALVES.values():
        t += rng.normal(scale=0.05, size=t.shape) + 20.0
    t[0, ::3] = -0.0
    return call(s, t, [7], dtype=dtype)


def calls():
    found = {case.name: call(case.s, case.t, case.y, case.temperature) for case in cases.CARD}
    for classes, scale, student in GRID:
        rows = cases.rows(classes, scale, student, "float32", count=1)
        found[f"{classes} {scale} {student}"] = call(*rows, 2.0)
    s, t, y = cases.batch((2,), classes=7)
    for temperature in (1e-3, 10.0, 1e35):
        found[f"temperature {temperature}"] = call(s, t, y, temperature)
    for name, dtype in HALVES.items():
        found[name] = call(s, t, y, dtype=dtype)
        found[f"ties {name}"] = tied(dtype)
    found["ties float32"] = tied(torch.float32)
    found["masked"] = call([1.0, -inf, 3.0, 0.5, -inf], [0.5, -inf, -1.0, 2.0, -inf], 2)
    found["one class"] = call([[3.0]], [[-1.0]], [0])
    # Where float32 rounds a difference of logits, or 1 / tau, as badly as it can.
    found["a difference"] = call([[2.5, -61.7]], [[1.0, 0.0]], [0])
    found["a temperature"] = call([[100.0, -50.0, 0.0]], [[0.0, -200.0, -201.0]], [0], 7.8)
    found["32 classes"] = call(*cases.batch((1,), classes=32))  # nothing is padded
    found["leading axes"] = call(*cases.batch((2, 2), classes=3))
    s, t, y, *others = call(*cases.batch((2,), classes=5))
    found["not contiguous"] = (s.T.contiguous().T, t.repeat(1, 2)[:, :5], y, *others)
    return found


def ignored(reduction):
    s, t, y = cases.batch((3,), classes=4)
    y[1], s[1], t[1, 0] = -100, nan, inf
    return call(s, t, y, reduction=reduction)


CALLS = calls()
IGNORED = {reduction: ignored(reduction) for reduction in ("mean", "sum", "none")}
BAD = {
    "nan student": call([1.0, nan, 3.0], [0.5, 2.0, -1.0], 2),
    "nan teacher": call([1.0, 2.0, 3.0], [0.5, nan, -1.0], 2),
    "-inf in the student alone": call([1.0, -inf, 3.0], [0.5, 2.0, -1.0], 2),
}
CACHED = ("base", "10 1.0 agrees", "10 10000.0 reversed", "bfloat16", "leading axes")


def targets(s, t, y, temperature, *_):
    """Arguments of `kernel.cached`, the targets from the reference."""
    ranking = reference.teacher_ranking(t.double(), y)
    alpha = reference.rank_weights(t.double(), ranking, temperature=temperature)
    return s, torch.as_tensor(ranking).short(), torch.as_tensor(alpha).float(), "none"


WORKER = """
import sys, torch
from pld_edu.fast import kernel
live, cached = torch.load(sys.argv[1], weights_only=True)
live = {name: kernel.live(*call) for name, call in live.items()}
cached = {name: kernel.cached(*call) for name, call in cached.items()}
torch.save((live, cached), sys.argv[2])
"""


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """Losses and gradients of all calls, live and cached, by name."""
    folder = tmp_path_factory.mktemp("interpreted")
    cached = {name: targets(*CALLS[name]) for name in CACHED}
    torch.save((CALLS | IGNORED | BAD, cached), folder / "calls")
    command = [sys.executable, "-c", WORKER, str(folder / "calls"), str(folder / "answers")]
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "answers", weights_only=True)


def check_against_60_digits(answer, s, t, y, temperature, *_):
    loss, gradient = answer
    assert loss.dtype == gradient.dtype == torch.float32
    assert (loss.shape, gradient.shape) == (y.shape, s.shape)
    rows = zip(loss.reshape(-1), gradient.reshape(-1, s.shape[-1]), strict=True)
    for (value, slope), row in zip(rows, cases.singles(s.double(), t.double(), y), strict=True):
        true_value, true_slope = exact.pld(*row, temperature)
        assert exact.loss_error(value, true_value) < FLOAT32.loss
        assert exact.gradient_error(slope, true_slope) < FLOAT32.gradient


@interpreter
@pytest.mark.parametrize("name", CALLS)
def test_interpreted_against_60_digits(name, interpreted):
    check_against_60_digits(interpreted[0][name], *CALLS[name])


@interpreter
@pytest.mark.parametrize("name", CACHED)
def test_cached_targets_against_60_digits(name, interpreted):
    check_against_60_digits(interpreted[1][name], *CALLS[name])


@interpreter
@pytest.mark.parametrize("reduction", IGNORED)
def test_ignored_rows_count_for_nothing_whatever_they_hold(reduction, interpreted):
    loss, gradient = interpreted[0][reduction]
    arguments = (*(z.double() for z in IGNORED[reduction][:2]), IGNORED[reduction][2])
    expected = reference.pld_loss(*arguments, reduction=reduction)
    np.testing.assert_allclose(loss, expected, rtol=FLOAT32.loss)
    expected = reference.pld_gradient(*arguments, reduction=reduction)
    np.testing.assert_allclose(gradient, expected, atol=FLOAT32.gradient * abs(expected).max())
    assert (gradient[1] == 0).all()


@interpreter
def test_nothing_bad_is_silent(interpreted):
    for name in ("nan student", "nan teacher"):
        loss, gradient = interpreted[0][name]
        assert loss.isnan()
        assert gradient.isnan().any()
    assert interpreted[0]["-inf in the student alone"][0].item() == inf


@pytest.mark.slow
@needs_triton
@pytest.mark.parametrize(("capability", "teacher"), [(80, "fp32"), (90, "bf16")])
def test_compiles_for_an_a100_and_an_h100_without_one(capability, teacher, tmp_path, monkeypatch):
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    signature = dict.fromkeys(kernel._from_teacher.arg_names, "fp32")
    signature |= {"student": "*fp32", "teacher": f"*{teacher}", "labels": "*i64", "rows": "*fp32"}
    signature |= {"gradient": "*fp32", "classes": "i32"}
    constants = {"HALF": teacher != "fp32", "BLOCK": 128}
    signature |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(kernel._from_teacher, signature, constants)
    compiled = compile(source, GPUTarget("cuda", capability, 32), {"num_warps": 1})
    assert f".target sm_{capability}" in compiled.asm["ptx"]
    assert compiled.asm["cubin"].startswith(b"\x7fELF")


@needs_triton
@pytest.mark.parametrize(
    ("logits", "fits"),
    [
        ([torch.zeros(2, 4096), torch.zeros(2, 4096).half()], True),
        ([torch.zeros(4097)], False),
        ([torch.zeros(3), torch.zeros(3).double()], False),
    ],
)
def test_which_logits_fit(logits, fits, monkeypatch):
    assert kernel.fits(*logits) == fits
    assert pld.cuda_kernel(*logits) is None  # not on a GPU
    monkeypatch.setattr(kernel, "triton", None)
    assert not kernel.fits(*logits)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_what_fits_goes_to_the_kernel(reduction, monkeypatch):
    """With a stand-in that computes by `losses`, as the kernel's docstring says."""

    class StandIn:
        @staticmethod
        def live(s, t, labels, temperature, reduction, ignore_index):
            options = {"temperature": temperature, "ignore_index": ignore_index}
            options["reduction"] = reduction
            inputs = (s.detach(), t, labels)
            return losses.pld_loss(*inputs, **options), losses.pld_gradient(*inputs, **options)

        @staticmethod
        def cached(s, ranking, alpha, reduction):
            return StandIn.live(s, 3 * T, Y, 3.0, reduction, -100)

    S, T, Y = (torch.tensor(z) for z in cases.batch((2, 2)))
    S.requires_grad_()
    Y[0, 0] = 1
    monkeypatch.setattr(pld, "cuda_kernel", lambda *logits: StandIn)
    monkeypatch.setattr("pld_edu.fast.targets.cuda_kernel", lambda *logits: StandIn)
    monkeypatch.setattr(pld, "along_rankings", None)
    monkeypatch.setattr("pld_edu.fast.targets.along_rankings", None)
    expected = losses.pld_loss(S, 3 * T, Y, temperature=3.0, reduction=reduction)
    (slope,) = torch.autograd.grad(expected.sum(), S)
    cached = fast.TeacherTargets.compute(3 * T, Y, temperature=3.0)
    for loss in (
        fast.pld_loss(S, 3 * T, Y, temperature=3.0, reduction=reduction),
        fast.pld_loss_from_targets(S, cached, reduction=reduction),
    ):
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(torch.autograd.grad(loss.sum(), S)[0], slope)


@needs_triton
@needs_gpu
@pytest.mark.parametrize("name", CALLS)
def test_on_a_gpu_against_60_digits(name):
    s, t, y, *options = CALLS[name]
    answer = kernel.live(s.cuda(), t.cuda(), y.cuda(), *options)
    check_against_60_digits([a.cpu() for a in answer], s, t, y, *options)


@needs_triton
@needs_gpu
@pytest.mark.parametrize("classes", [31, 33, 128, 129, 500, 1000, 1025, 2048, 4000, 4096])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_against_the_reference(classes, dtype):
    """Every size of block and every number of warps; live and cached."""
    s, t, y, *options = call(*cases.batch((64,), classes=classes), 4.0, dtype=dtype)
    arguments = (s.double(), t.double(), y)
    expected = reference.pld_loss(*arguments, temperature=4.0, reduction="none")
    slopes = reference.pld_gradient(*arguments, temperature=4.0, reduction="none")
    live = kernel.live(s.cuda(), t.cuda(), y.cuda(), *options)
    ranked = (z.cuda() for z in targets(s, t, y, 4.0)[:3])
    for loss, gradient in (live, kernel.cached(*ranked, "none")):
        np.testing.assert_allclose(loss.cpu(), expected, rtol=FLOAT32.loss)
        errors = abs(gradient.cpu().numpy() - slopes).max(axis=-1)
        assert (errors / abs(slopes).max(axis=-1)).max() < FLOAT32.gradient
