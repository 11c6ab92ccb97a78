import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pld_edu.distill import ranks

HERE = Path(__file__).parent


def test_two_processes_give_the_losses_of_one(tmp_path):
    """CE, DIST, DKD and PLD, batch normalisation included, through `torchrun`."""
    script = [str(HERE / "run_small_images.py")]
    one = [sys.executable, *script, str(tmp_path / "one")]
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    two += [*script, str(tmp_path / "two")]
    printed = []
    for command in (one, two):
        answer = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert answer.returncode == 0, answer.stderr
        printed.append(answer.stdout)
    assert printed[1].count("difference to CE") == 1, "one process of the two speaks"
    curves = [
        json.loads((tmp_path / name / "resnet14-resnet8" / "curves.json").read_text())
        for name in ("one", "two")
    ]
    losses = [[line["train_loss"] for line in lines] for lines in curves]
    assert len(losses[0]) == 4 * 2
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    teachers = [
        json.loads((tmp_path / name / "resnet14-resnet8" / "teacher.json").read_text())
        for name in ("one", "two")
    ]
    losses = [[line["train_loss"] for line in teacher["epochs"]] for teacher in teachers]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    assert [path.name for path in (tmp_path / "two").rglob("*.checkpoint")] == []


def test_shared_statistics_of_one_process_are_its_own(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    plain = nn.BatchNorm2d(3)
    with torch.no_grad():
        plain.weight.copy_(torch.rand(3, generator=generator))
        plain.bias.copy_(torch.rand(3, generator=generator))
    shared = ranks.SharedBatchNorm2d(3)
    shared.load_state_dict(plain.state_dict())
    monkeypatch.setattr(ranks.Total, "apply", lambda values: values)
    values = 5 + torch.randn(4, 3, 2, 2, generator=generator)
    inputs = [values.clone().requires_grad_() for _ in range(2)]
    outputs = [norm(x) for norm, x in zip((plain, shared), inputs, strict=True)]
    torch.testing.assert_close(outputs[1], outputs[0])
    for output in outputs:
        (output**3).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(shared.state_dict()[name], value)
    torch.testing.assert_close(shared.eval()(values), plain.eval()(values))


def test_alone_nothing_is_wrapped_gathered_or_shared():
    network, values = nn.Sequential(nn.BatchNorm2d(2)), torch.ones(3)
    assert ranks.parallel(network) is network
    assert ranks.with_shared_statistics(network) is network
    assert type(network[0]) is nn.BatchNorm2d
    assert ranks.gather(values) is values
    assert ranks.share(7) == slice(None)
    assert ranks.first()


def test_a_batch_that_cannot_be_shared_equally(monkeypatch):
    monkeypatch.setattr(ranks, "count", lambda: 3)
    with pytest.raises(ValueError, match="batch of 128 cannot be shared equally by 3 processes"):
        ranks.share(128)
