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


@pytest.fixture(scope="session")
def nascar_rankings() -> list[list[str]]:
    """The 36 races of 2002, each from winner to last, as Hunter (2004) uses them."""
    races: dict[int, dict[int, str]] = {}
    path = Path(pld_edu.__file__).parent / "data" / "nascar2002.csv"
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            races.setdefault(int(row["race"]), {})[int(row["position"])] = row["driver"]
    return [[driver for _, driver in sorted(race.items())] for race in races.values()]
