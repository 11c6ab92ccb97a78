"""Settings and data that several test files share."""

import csv
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import pld_edu

# Before PyTorch is imported, here and in whatever the tests start: the tensors are small, and
# threads that share them mostly wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

settings.register_profile(
    "pld_edu",
    deadline=None,
    max_examples=25,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("pld_edu")


def pytest_configure(config: pytest.Config) -> None:
    """With several workers, print one line per finished file; long files start first."""
    if config.getoption("numprocesses", None):
        config.option.loadscopereorder = False
        config.pluginmanager.register(FileByFile(config))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notebooks and files with slow tests come first: no worker is left with one at the end."""
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path.suffix != ".ipynb" and item.path not in long)


class FileByFile:
    """The progress of a run with ``pytest -n``: each file, when a worker has finished it."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.running: dict[str, list[pytest.TestReport]] = {}

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Count as usual, without a letter for each test."""
        if hasattr(report, "wasxfail") or (report.when != "call" and report.passed):
            return None
        category = "error" if report.when != "call" and report.failed else report.outcome
        return category, "", category.upper()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Collect the reports of a worker until it turns to another file."""
        worker = getattr(report, "worker_id", "")
        reports = self.running.setdefault(worker, [])
        if reports and path_of(reports[0]) != path_of(report):
            self.print_file(self.running.pop(worker))
        self.running.setdefault(worker, []).append(report)

    def pytest_sessionfinish(self) -> None:
        """Print the last file of each worker, below pytest's own line."""
        self.config.pluginmanager.getplugin("terminalreporter").line("")
        for reports in self.running.values():
            self.print_file(reports)

    def print_file(self, reports: list[pytest.TestReport]) -> None:
        """Print the file's name, the number of tests per outcome, and the seconds they took."""
        outcomes = [r.outcome for r in reports if r.when == "call" or not r.passed]
        counts = ", ".join(f"{outcomes.count(o)} {o}" for o in dict.fromkeys(sorted(outcomes)))
        seconds = sum(report.duration for report in reports)
        terminal = self.config.pluginmanager.getplugin("terminalreporter")
        terminal.write_line(f"{seconds:6.1f} s  {path_of(reports[0])}  {counts}")


def path_of(report: pytest.TestReport) -> str:
    """The file of a test."""
    return report.nodeid.split("::")[0]


@pytest.fixture(scope="session")
def nascar_rankings() -> list[list[str]]:
    """The 36 races of 2002, each from winner to last, as Hunter (2004) uses them."""
    races: dict[int, dict[int, str]] = {}
    path = Path(pld_edu.__file__).parent / "data" / "nascar2002.csv"
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            races.setdefault(int(row["race"]), {})[int(row["position"])] = row["driver"]
    return [[driver for _, driver in sorted(race.items())] for race in races.values()]
