import torch
from torch import nn

from pld_edu.distill import speed
from pld_edu.distill.models import build
from pld_edu.distill.train import to_device
from tests.support.small_images import SMALL_IMAGES, slice_of_cifar100


def test_latency_is_measured_on_one_thread_for_1_and_128_images(monkeypatch):
    seen = []

    class Network(nn.Module):
        def forward(self, images):
            seen.append((len(images), torch.get_num_threads()))
            return images

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        found = speed.latency(Network())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert set(seen) == {(1, 1), (128, 1)}
    assert set(found) == {"batch_1_ms", "batch_128_ms"}
    assert all(value > 0 for value in found.values())


def test_the_share_of_the_losses_follows_from_the_times(monkeypatch):
    # 10 ms for the teacher, 20 for the student, 1 for each loss.
    times = iter([0.010, 0.020] + [0.001] * 7)

    def seconds(part, device):
        part()
        return next(times)

    monkeypatch.setattr(speed, "seconds", seconds)
    train = to_device(slice_of_cifar100(16, 1, 1)[0], "cpu")
    teacher, student = build("resnet8", 0).eval(), build("resnet8", 1)
    found = speed.throughput(SMALL_IMAGES, teacher, student, train)
    assert found["teacher"] == 16 / 0.010
    assert found["student"] == 16 / 0.020
    losses = [name for name in found if name.startswith("loss ")]
    assert losses == [f"loss {setting.name}" for setting in SMALL_IMAGES.settings]
    assert found["loss_share"] == 0.007 / (0.010 + 7 * 0.020 + 0.007)
