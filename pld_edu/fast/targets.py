"""What a frozen teacher says about a data set, ranked and weighed once and for all."""

from __future__ import annotations

from os import PathLike

import numpy as np
import torch
from torch import Tensor

from ..losses.pld import rank_weights, teacher_ranking
from ..losses.validation import check_finite, check_reduction
from .operator import from_targets


class TeacherTargets:
    """Rankings and weights of a frozen teacher."""

    def __init__(self, ranking: Tensor, weights: Tensor) -> None:
        self.ranking = ranking
        self.weights = weights

    @classmethod
    def compute(cls, teacher_logits, labels, *, temperature=1.0, weights="teacher"):
        check_finite("teacher_logits", teacher_logits)
        ranking = teacher_ranking(teacher_logits, labels)
        alpha = rank_weights(teacher_logits, ranking, temperature=temperature, weights=weights)
        small = teacher_logits.shape[-1] <= 65536
        return cls(ranking.to(torch.int16 if small else torch.int32), alpha.float())

    def __len__(self):
        return len(self.ranking)

    def __getitem__(self, rows):
        return TeacherTargets(self.ranking[rows], self.weights[rows])


def pld_loss_from_targets(student_logits, targets, *, reduction="mean"):
    check_reduction(reduction)
    return from_targets(reduction, student_logits, targets.ranking, targets.weights)
