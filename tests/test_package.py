"""What can be imported, at what price, and that both packages speak the same language."""

import inspect
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.version import Version

import pld_edu
from pld_edu import fast, losses, reference

ROOT = Path(pld_edu.__file__).parents[1]
BOTH = sorted(set(reference.__all__) & set(losses.__all__))


def run(code: str) -> str:
    """Standard output of a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


HEAVY = ("jax", "matplotlib", "mnist1d", "PIL", "torch", "torchvision", "tqdm")


@pytest.mark.slow
def test_what_needs_no_pytorch_loads_none():
    code = f"""
import sys, pld_edu
pld_edu.reference.pld_loss
import pld_edu.check, pld_edu.cli, pld_edu.data, pld_edu.exercises, pld_edu.reference
from pld_edu.results import comparison, methods, metrics, records, tables
pld_edu.data.class_names(), pld_edu.data.nascar2002()
print([name for name in {HEAVY} if name in sys.modules])
pld_edu.data.cifar100_slice()
from pld_edu.results import plots
print([name for name in {HEAVY} if name in sys.modules], "matplotlib.pyplot" in sys.modules)
pld_edu.losses.pld_loss
print("torch" in sys.modules)
"""
    assert run(code).splitlines() == ["[]", "['matplotlib', 'PIL'] False", "True"]


@pytest.mark.parametrize("use", ["from pld_edu import fast", "import pld_edu; pld_edu.losses"])
def test_without_pytorch_the_extra_is_named(use):
    code = f"""
import sys
sys.modules["torch"] = None
try:
    {use}
except ImportError as error:
    print(error)
"""
    assert run(code).endswith('; pip install "pld_edu[torch]" brings it')


def test_unknown_attribute_is_named():
    with pytest.raises(AttributeError, match="module 'pld_edu' has no attribute 'loses'"):
        _ = pld_edu.loses


def test_version_is_canonical_and_the_one_that_is_installed_and_cited():
    assert str(Version(pld_edu.__version__)) == pld_edu.__version__ == version("pld_edu")
    citation = (Path(__file__).parents[1] / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {pld_edu.__version__}\n" in citation


@pytest.mark.parametrize("package", [pld_edu, reference, losses, fast], ids=lambda p: p.__name__)
def test_every_public_name_exists(package):
    assert sorted(package.__all__) == sorted(set(package.__all__))
    for name in package.__all__:
        assert getattr(package, name) is not None


def test_the_contract_of_names():
    shared = {
        "cross_entropy",
        "dist_loss",
        "dkd_loss",
        "kd_loss",
        "list_mle",
        "log_likelihood",
        "log_likelihood_gradient",
        "pld_gradient",
        "pld_loss",
        "position_list_mle",
        "rank_weights",
        "teacher_ranking",
    }
    numpy_only = {
        "fit_scores",
        "pld_hessian",
        "ranking_probabilities",
        "sample_rankings",
    }
    assert shared | numpy_only <= set(reference.__all__)
    assert shared | {"PLDLoss", "KDLoss", "DISTLoss", "DKDLoss"} <= set(losses.__all__)


@pytest.mark.parametrize("name", BOTH)
def test_both_packages_take_the_same_arguments(name):
    theirs, ours = (
        [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
        for f in (getattr(reference, name), getattr(losses, name))
    )
    assert ours == theirs


@pytest.mark.parametrize("name", ["pld_gradient", "pld_hessian"])
def test_derivatives_take_the_arguments_of_the_loss(name):
    theirs = inspect.signature(reference.pld_loss).parameters
    assert list(inspect.signature(getattr(reference, name)).parameters) == list(theirs)


def test_arguments_and_defaults_of_the_contract():
    def defaults(f):
        parameters = inspect.signature(f).parameters.values()
        return {p.name: p.default for p in parameters if p.default is not p.empty}

    reduce = {"reduction": "mean"}
    ignore = {"ignore_index": -100}
    pld = {"temperature": 1.0, "weights": "teacher"}
    assert defaults(reference.pld_loss) == pld | reduce | ignore
    assert defaults(reference.cross_entropy) == reduce | ignore
    assert defaults(reference.kd_loss) == {"temperature": 4.0} | reduce
    dist = {"temperature": 1.0, "beta": 1.0, "gamma": 1.0}
    assert defaults(reference.dist_loss) == dist | reduce
    dkd = {"temperature": 4.0, "alpha": 1.0, "beta": 8.0}
    assert defaults(reference.dkd_loss) == dkd | reduce
    assert defaults(losses.PLDLoss) == pld | reduce | ignore
    assert defaults(losses.KDLoss) == {"temperature": 4.0, "ce_weight": 0.1, "kd_weight": 0.9}
    dist = {"temperature": 1.0, "ce_weight": 1.0, "beta": 2.0, "gamma": 2.0}
    assert defaults(losses.DISTLoss) == dist
    assert defaults(losses.DKDLoss) == dkd | {"ce_weight": 1.0}
