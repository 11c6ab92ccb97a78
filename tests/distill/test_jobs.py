import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from pld_edu import data
from pld_edu.distill import jobs, run
from tests.support import run_small_images
from tests.support.small_images import slice_of_cifar100


def processes(monkeypatch, rank, count):
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(count))


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_each_job_has_one_process(count, monkeypatch):
    found = []
    for rank in range(count):
        processes(monkeypatch, rank, count)
        assert jobs.is_first() == (rank == 0)
        found += jobs.share([[0], [1], [2], [3], [4]])
    assert sorted(found) == [[0], [1], [2], [3], [4]]


def test_without_torchrun_all_jobs_are_its_own(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert jobs.is_first()
    assert jobs.share([[0], [1]]) == [[0], [1]]


def test_the_others_wait_for_the_first_to_claim_and_then_compare(tmp_path, monkeypatch):
    monkeypatch.setattr(jobs, "POLL", 0.01)
    folder = tmp_path / "run"
    first = threading.Timer(0.2, jobs.records.claim, (folder, {"seeds": 2}))
    first.start()
    processes(monkeypatch, 1, 2)
    jobs.claim(folder, {"seeds": 2})
    assert (folder / "experiment.json").exists()
    with pytest.raises(FileExistsError, match="train is None there, 3 here"):
        jobs.claim(folder, {"seeds": 2, "train": 3})
    jobs.claim(folder, {"seeds": 3})
    assert json.loads((folder / "experiment.json").read_text()) == {"seeds": 2}, "the first writes"


ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_to_the_same_rows(tmp_path, monkeypatch):
    """By SIGKILL, among the steps of the students of seed 0, and again of seed 1."""
    monkeypatch.setitem(data.DATASETS, "cifar100", slice_of_cifar100)
    one = run.run(run_small_images.TINY_IMAGES, tmp_path / "one", progress=False, device="cpu")
    command = [sys.executable, "-m", "tests.support.run_small_images", str(tmp_path / "killed")]
    folder = tmp_path / "killed" / one.folder.name
    for seed in (0, 1):
        with subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=ROOT) as process:
            while not (folder / f"seed-{seed}.checkpoint").exists():
                assert process.poll() is None
            process.kill()
        assert not (folder / f"seed-{seed}.json").exists()
    subprocess.run(command, capture_output=True, check=True, cwd=ROOT)
    assert json.loads((folder / "teacher.json").read_text()) == one.teacher
    for row in [*(rows := run.load(folder).rows), *one.rows]:
        del row["seconds"], row["ms_per_step"]
    assert rows == one.rows
    found, expected = (np.load(f / "predictions.npz") for f in (folder, one.folder))
    for name in found.keys() | expected.keys():
        np.testing.assert_array_equal(found[name], expected[name])


@pytest.mark.slow
def test_two_processes_give_the_rows_of_one(tmp_path, monkeypatch):
    """Through `torchrun`, to the bit; each has the students of one seed."""
    monkeypatch.setitem(data.DATASETS, "cifar100", slice_of_cifar100)
    one = run.run(run_small_images.TINY_IMAGES, tmp_path / "one", progress=False, device="cpu")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "tests.support.run_small_images", str(tmp_path / "two")]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=ROOT)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("difference to CE") == 1, "one process of the two speaks"
    two = run.load(tmp_path / "two" / one.folder.name)
    for row in [*one.rows, *two.rows]:
        assert row.pop("seconds") > 0
        assert row.pop("ms_per_step") > 0
    assert two.rows == one.rows
    assert two.teacher == one.teacher
    names = sorted(path.name for path in one.folder.iterdir())
    assert sorted(path.name for path in two.folder.iterdir()) == sorted([*names, "figure.png"])
    curves = [json.loads((run.folder / "curves.json").read_text()) for run in (one, two)]
    assert curves[0] == curves[1]
    for name in names:
        if name.startswith("logits_"):
            logits = [np.load(run.folder / name)["logits"] for run in (one, two)]
            np.testing.assert_array_equal(*logits)
