"""The rule of imports holds, and the linter that holds it notices an import that breaks it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pld_edu

pytest.importorskip("importlinter")

ROOT = Path(__file__).parents[1]
PACKAGE = Path(pld_edu.__file__).parent


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts on the package that lies in a folder."""
    code = "from importlinter.cli import lint_imports_command as main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache"],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with the modules and the contracts, to be spoilt."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(
        PACKAGE,
        tmp_path / "pld_edu",
        ignore=shutil.ignore_patterns("*.csv", "*.json", "*.txt", "*.webp", "__pycache__"),
    )
    return tmp_path


def test_rule_of_imports() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("losses/pld", "from .. import reference", "imports go down"),
        ("reference/pld", "import pld_edu.results", "imports go down"),
        ("reference/pld", "from ..fast import pld_loss", "imports go down"),
        ("_files", "from . import data", "imports go down"),
        ("new_room", "", "imports go down"),
        ("check/__init__", "from ..losses import pld_loss", "losses is imported by"),
        ("distill/__init__", "from ..reference import pld_loss", "reference is imported by"),
        ("exercises/__init__", "from ..fast import pld_loss", "fast is imported by"),
        ("distill/__init__", "def late():\n    from .. import fast", "fast is imported by"),
        ("reference/validation", "from . import pld", "no circle"),
    ],
)
def test_forbidden_import_is_found(copy: Path, module: str, line: str, contract: str) -> None:
    with (copy / "pld_edu" / f"{module}.py").open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    done = lint(copy)
    broken = [text for text in done.stdout.splitlines() if " BROKEN" in text]
    assert done.returncode == 1
    assert any(text.startswith(contract) for text in broken), done.stdout
