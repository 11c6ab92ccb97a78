"""How close PLD is to plain cross-entropy for a given teacher.

PLD's first weight is the teacher's probability of the label. A teacher trained to saturation puts
all its weight there, and what is left of PLD is cross-entropy.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..losses import cross_entropy, pld_loss


def saturation(
    teacher_logits: Tensor, labels: Tensor, student_logits: Tensor, temperature: float = 1.0
) -> dict[str, float]:
    """The teacher's weight of the label, and PLD's gradient against cross-entropy's.

    Parameters
    ----------
    teacher_logits, student_logits : Tensor [N, C]
    labels : int64 Tensor [N]
    temperature : float
        Of PLD's weights.

    Returns
    -------
    dict
        `mean_label_weight`: mean of softmax(t / temperature)_y; `share_above_99`: share of samples
        where it exceeds 0.99; `cosine_to_ce`: mean over the samples of the cosine between PLD's
        and cross-entropy's gradients in the student's logits.

    Raises
    ------
    ValueError
        As in `pld_edu.losses.pld_loss`.
    """
    s, t = student_logits.detach().double(), teacher_logits.detach().double()

    def pld(s: Tensor) -> Tensor:
        return pld_loss(s, t, labels, temperature=temperature, reduction="sum")

    def ce(s: Tensor) -> Tensor:
        return cross_entropy(s, labels, reduction="sum")

    weight = (t / temperature).softmax(dim=-1).gather(-1, labels.unsqueeze(-1))
    cosine = F.cosine_similarity(torch.func.grad(pld)(s), torch.func.grad(ce)(s), dim=-1)
    return {
        "mean_label_weight": weight.mean().item(),
        "share_above_99": (weight > 0.99).double().mean().item(),
        "cosine_to_ce": cosine.mean().item(),
    }
