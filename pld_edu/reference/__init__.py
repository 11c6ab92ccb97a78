"""The truth in NumPy float64: one formula per function, in the notation of arXiv 2506.12542.

==============  ==================================================================
symbol          meaning
==============  ==================================================================
s, t            student and teacher logits of the C classes
y               true class (label)
pi              ranking: ``pi[k]`` is the class at rank k, the favourite first
R_k             ``log sum_{l >= k} exp(s_{pi_l})``, the tail's logsumexp
p_k             ``exp(s_{pi_k} - R_k)``, probability of choice k
c_k             ``1 - p_k``
alpha_k         weight of choice k
tau             temperature of the teacher's weights
==============  ==================================================================

The class axis is always the last; every other axis is a batch axis.
"""

from .baselines import cross_entropy, dist_loss, dkd_loss, kd_loss, list_mle, position_list_mle
from .plackett_luce import (
    fit_scores,
    log_likelihood,
    log_likelihood_gradient,
    log_odds_against,
    ranking_probabilities,
    sample_rankings,
)
from .pld import pld_gradient, pld_hessian, pld_loss, rank_weights, teacher_ranking

__all__ = [
    "cross_entropy",
    "dist_loss",
    "dkd_loss",
    "fit_scores",
    "kd_loss",
    "list_mle",
    "log_likelihood",
    "log_likelihood_gradient",
    "log_odds_against",
    "pld_gradient",
    "pld_hessian",
    "pld_loss",
    "position_list_mle",
    "rank_weights",
    "ranking_probabilities",
    "sample_rankings",
    "teacher_ranking",
]
