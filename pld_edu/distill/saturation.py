"""How close PLD is to plain cross-entropy for a given teacher.

PLD's first weight is the teacher's probability of the label. A teacher trained to saturation puts
all its weight there, and what is left of PLD is cross-entropy.
"""

from torch import Tensor
from torch.nn import functional as F

from ..losses import pld_gradient


def saturation(
    teacher_logits: Tensor, labels: Tensor, student_logits: Tensor, temperature: float = 1.0
) -> dict[str, float]:
    """The teacher's weight of the label, and PLD's gradient against cross-entropy's.

    For logits [N, C] and labels [N]: `mean_label_weight`, the mean of softmax(t / temperature)_y;
    `share_above_99`, the share of samples where it exceeds 0.99; `cosine_to_ce`, the mean over the
    samples of the cosine between the two gradients in the student's logits.
    """
    s, t, tau = student_logits.detach().double(), teacher_logits.detach().double(), temperature
    pld = pld_gradient(s, t, labels, temperature=tau, reduction="sum")
    ce = s.softmax(dim=-1) - F.one_hot(labels, s.shape[-1])  # dCE/ds = softmax(s) - e_y
    cosine = F.cosine_similarity(pld, ce, dim=-1)
    weight = (t / tau).softmax(dim=-1).gather(-1, labels.unsqueeze(-1))  # softmax(t / tau)_y
    return {
        "mean_label_weight": weight.mean().item(),
        "share_above_99": (weight > 0.99).double().mean().item(),
        "cosine_to_ce": cosine.mean().item(),
    }
