"""How the six photos of notebook 00 were made: the slice, and the recorded teacher's logits.

``python -m tests.support.make_six_photos``, after a new teacher has been recorded.
"""

from pathlib import Path

import numpy as np
import torch

from pld_edu.data import cifar100_slice, class_names
from pld_edu.distill.networks import build
from pld_edu.distill.train import predict

TEACHER = Path(__file__).parents[2] / "notebooks" / "results" / "cifar100-sgd" / "resnet20"
FILE = TEACHER / "six_photos.npz"
PICKED = {"maple_tree": 3, "bus": 0, "boy": 5, "shark": 3, "sea": 0, "tank": 2}  # which of its ten


def six_photos() -> dict[str, np.ndarray]:
    """Six pictures picked by hand, their labels, all class names and the teacher's logits."""
    images, labels = cifar100_slice()
    names = class_names()
    rows = [np.flatnonzero(labels == names.index(name))[nth] for name, nth in PICKED.items()]
    teacher = build(TEACHER.name, 0)
    kept = torch.load(TEACHER / "teacher.pt", weights_only=True)
    teacher.load_state_dict(kept["weights"])
    logits = predict(teacher.eval(), torch.from_numpy(images[rows])).numpy()
    classes = np.array([name.replace("_", " ") for name in names])
    return {
        "images": images[rows],
        "labels": labels[rows],
        "classes": classes,
        "logits": logits,
    }


if __name__ == "__main__":
    np.savez_compressed(FILE, **six_photos())
