"""The fused kernel: interpreted against 60 digits, compiled for two GPUs, run on one if there is.

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

from pld_edu import reference
from pld_edu.fast import triton_kernel
from tests.support import cases, exact
from tests.support.tolerances import BY_DTYPE

FLOAT32 = BY_DTYPE["float32"]
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
needs_triton = pytest.mark.skipif(
    not triton_kernel.available(), reason="there is no Triton 3.3 or later for this platform"
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")

# The grid of `cases.rows`, thinned where rows are long: interpreted, 1000 classes take seconds.
GRID = [(c, scale, who) for c in (2, 10) for scale in cases.SCALES for who in cases.STUDENTS]
GRID += [(100, 1.0, "agrees"), (100, 1e4, "reversed"), (1000, 100.0, "differs")]


def call(s, t, y, temperature=1.0, weights="teacher", dtype=torch.float32):
    """Arguments of `pld_rows_and_gradient` for one row or many."""
    s, t = (torch.as_tensor(np.atleast_2d(z), dtype=torch.float64).to(dtype) for z in (s, t))
    return s, t, torch.as_tensor(np.atleast_1d(y)), temperature, weights


def tied(dtype):
    """Teachers of so few digits, or with so many zeros of both signs, that most classes tie."""
    rng = np.random.default_rng(5)
    s, t = rng.normal(size=(2, 40)) * 3, np.zeros((2, 40))
    if dtype in DTYPES.values():
        t += rng.normal(scale=0.05, size=t.shape) + 20.0
    t[1, ::3] = -0.0
    return call(s, t, rng.integers(40, size=2), dtype=dtype)


def masked(weights):
    s, t = [[1.0, -inf, 3.0, 0.5, -inf]], [[0.5, -inf, -1.0, -inf, -inf]]
    return call(s, t, 2, weights=weights)


def calls():
    found = {case.name: call(case.s, case.t, case.y, case.temperature) for case in cases.CARD}
    for classes, scale, student in GRID:
        s, t, y = cases.rows(classes, scale, student, "float32")
        found[f"{classes} {scale} {student}"] = call(s, t, y, 2.0)
    s, t, y = cases.batch((3,), classes=7)
    for weights in cases.WEIGHTS:
        found[f"weights {weights}"] = call(s, t, y, 3.3, weights)
        found[f"masked {weights}"] = masked(weights)
        found[f"one class {weights}"] = call([[3.0]], [[-1.0]], 0, weights=weights)
    for temperature in (1e-3, 0.5, 10.0, 1e35):
        found[f"temperature {temperature}"] = call(s, t, y, temperature)
    for name, dtype in DTYPES.items():
        found[name] = call(s, t, y, dtype=dtype)
        found[f"ties {name}"] = tied(dtype)
    found["ties float32"] = tied(torch.float32)
    # Where float32 rounds a difference of logits, or 1 / tau, as badly as it can.
    found["a difference"] = call([[2.5, -61.7]], [[1.0, 0.0]], 0)
    found["a temperature"] = call([[100.0, -50.0, 0.0]], [[0.0, -200.0, -201.0]], 0, 7.8)
    s, t, y = cases.batch((1,), classes=32)  # nothing is padded
    found["32 classes"] = call(s, t, y)
    s, t, y, *others = call(*cases.batch((2,), classes=5))
    found["not contiguous"] = (s.T.contiguous().T, t.repeat(1, 2)[:, :5], y, *others)
    found["no rows"] = call(np.zeros((0, 5)), np.zeros((0, 5)), np.zeros(0, int))
    found["nan student"] = call([[1.0, nan, 3.0]], [[0.5, 2.0, -1.0]], 2)
    found["nan teacher"] = call([[1.0, 2.0, 3.0]], [[0.5, nan, -1.0]], 2)
    found["-inf in the student alone"] = call([[1.0, -inf, 3.0]], [[0.5, 2.0, -1.0]], 2)
    return found


CALLS = calls()
CACHED = ("base", "shifted", "10 1.0 agrees", "10 10000.0 reversed", "bfloat16")


def targets(s, t, y, temperature, weights):
    """Arguments of `cached_rows_and_gradient`, the targets from the reference."""
    ranking = reference.teacher_ranking(t.double(), y)
    alpha = reference.rank_weights(t.double(), ranking, temperature=temperature, weights=weights)
    return s, torch.as_tensor(ranking).short(), torch.as_tensor(alpha).float()


WORKER = """
import sys, torch
from pld_edu.fast import triton_kernel as kernel
live, cached = torch.load(sys.argv[1], weights_only=True)
live = {name: kernel.pld_rows_and_gradient(*call) for name, call in live.items()}
cached = {name: kernel.cached_rows_and_gradient(*call) for name, call in cached.items()}
torch.save((live, cached), sys.argv[2])
"""


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory):
    """Rows and gradients of `CALLS` and of `CACHED`, by name."""
    folder = tmp_path_factory.mktemp("interpreted")
    cached = {name: targets(*CALLS[name]) for name in CACHED}
    torch.save((CALLS, cached), folder / "calls")
    command = [sys.executable, "-c", WORKER, str(folder / "calls"), str(folder / "answers")]
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return torch.load(folder / "answers", weights_only=True)


def check_against_60_digits(answer, s, t, y, temperature, weights):
    rows, gradient = answer
    assert rows.dtype == gradient.dtype == torch.float32
    assert (rows.shape, gradient.shape) == (y.shape, s.shape)
    lists = zip(rows, gradient, s.tolist(), t.tolist(), y.tolist(), strict=True)
    for loss, slope, *row in lists:
        true_loss, true_slope = exact.pld(*row, temperature, weights)
        assert exact.loss_error(loss, true_loss) < FLOAT32.loss
        assert exact.gradient_error(slope, true_slope) < FLOAT32.gradient


# exact.py counts the classes of the named weights without the masked ones.
EXACT = [name for name in CALLS if not name.startswith(("masked ", "nan ", "-inf ", "no rows"))]


@needs_triton
@pytest.mark.parametrize("name", EXACT)
def test_interpreted_against_60_digits(name, interpreted):
    check_against_60_digits(interpreted[0][name], *CALLS[name])


@needs_triton
@pytest.mark.parametrize("weights", cases.WEIGHTS)
def test_masked_classes_as_in_the_reference(weights, interpreted):
    rows, gradient = interpreted[0][f"masked {weights}"]
    s, t, y, *_ = masked(weights)
    options = {"weights": weights, "reduction": "none"}
    np.testing.assert_allclose(rows, reference.pld_loss(s, t, y, **options), rtol=1e-6)
    expected = reference.pld_gradient(s, t, y, **options)
    np.testing.assert_allclose(gradient, expected, atol=1e-6 * abs(expected).max())
    assert (gradient[:, [1, 4]] == 0).all()


@needs_triton
@pytest.mark.parametrize("name", CACHED)
def test_cached_targets_against_60_digits(name, interpreted):
    check_against_60_digits(interpreted[1][name], *CALLS[name])


@needs_triton
def test_nothing_bad_is_silent(interpreted):
    for name in ("nan student", "nan teacher"):
        rows, gradient = interpreted[0][name]
        assert rows.isnan().all()
        assert gradient.isnan().any()
    assert interpreted[0]["-inf in the student alone"][0].item() == inf


@needs_triton
def test_no_rows(interpreted):
    rows, gradient = interpreted[0]["no rows"]
    assert (rows.shape, gradient.shape) == ((0,), (0, 5))


@needs_triton
@pytest.mark.parametrize("capability", [80, 90], ids=["A100", "H100"])
@pytest.mark.parametrize("teacher", ["fp32", "bf16"])
def test_compiles_without_a_gpu(capability, teacher, tmp_path, monkeypatch):
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = triton_kernel._from_teacher
    signature = dict.fromkeys(kernel.arg_names, "fp32")
    signature |= {"student": "*fp32", "teacher": f"*{teacher}", "labels": "*i64", "rows": "*fp32"}
    signature |= {"gradient": "*fp32", "classes": "i32"}
    constants = {"WEIGHTS": 0, "HALF": teacher != "fp32", "BLOCK": 128}
    signature |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(kernel, signature, constants)
    compiled = compile(source, GPUTarget("cuda", capability, 32), {"num_warps": 1})
    assert f".target sm_{capability}" in compiled.asm["ptx"]
    assert compiled.asm["cubin"].startswith(b"\x7fELF")


@needs_triton
@pytest.mark.parametrize(
    ("s", "weights", "sentence"),
    [
        (torch.zeros(2, 3, dtype=torch.float64), "teacher", "student_logits must be float32"),
        (torch.zeros(3), "teacher", r"must have shape \[B, C\] with 1 to 4096 .* shape \(3,\)"),
        (torch.zeros(1, 4097), "teacher", r"got shape \(1, 4097\)"),
        (torch.zeros(2, 3), "student", "weights must be one of .* got 'student'"),
    ],
)
def test_bad_input(s, weights, sentence):
    with pytest.raises(ValueError, match=sentence):
        triton_kernel.pld_rows_and_gradient(s, s, torch.zeros(2, dtype=int), 1.0, weights)


def test_without_triton_it_says_so(monkeypatch):
    monkeypatch.setattr(triton_kernel, "triton", None)
    assert not triton_kernel.available()
    with pytest.raises(ImportError, match=r"needs Triton 3\.3 or later"):
        triton_kernel.pld_rows_and_gradient(*CALLS["base"])


@needs_triton
@needs_gpu
@pytest.mark.parametrize("name", EXACT)
def test_on_a_gpu_against_60_digits(name):
    s, t, y, *options = CALLS[name]
    answer = triton_kernel.pld_rows_and_gradient(s.cuda(), t.cuda(), y.cuda(), *options)
    check_against_60_digits([a.cpu() for a in answer], s, t, y, *options)


@needs_triton
@needs_gpu
@pytest.mark.parametrize("classes", [31, 33, 128, 129, 500, 1000, 1025, 2048, 4000, 4096])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_against_the_reference(classes, dtype):
    """Every size of block and every number of warps; live and cached."""
    s, t, y = cases.batch((64,), classes=classes)
    s, t, y, temperature, weights = call(s, t, y, 4.0, dtype=dtype)
    options = {"temperature": temperature, "reduction": "none"}
    expected = reference.pld_loss(s.double(), t.double(), y, **options)
    slopes = reference.pld_gradient(s.double(), t.double(), y, **options)
    largest = abs(slopes).max(axis=-1)
    live = triton_kernel.pld_rows_and_gradient(s.cuda(), t.cuda(), y.cuda(), temperature, weights)
    cached = triton_kernel.cached_rows_and_gradient(
        *(x.cuda() for x in targets(s, t, y, temperature, weights))
    )
    for rows, gradient in (live, cached):
        np.testing.assert_allclose(rows.cpu(), expected, rtol=FLOAT32.loss)
        errors = abs(gradient.cpu().numpy() - slopes).max(axis=-1)
        assert (errors / largest).max() < FLOAT32.gradient
