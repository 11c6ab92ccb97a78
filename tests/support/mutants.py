"""Wrong and right PLDs in plain PyTorch, NumPy and JAX, to check the checker with.

Nothing here imports the package under test. `pld` has one switch for each step that people get
wrong; a mutant is a set of switches, a pair of mistakes is the union of two. The rest is written
out: numerical mistakes, ones without a name, and right losses written in different ways.
"""

import math
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tests.support.switchable_pld import pld, rank

try:
    import jax
    import jax.numpy as jnp
except ImportError:  # JAX is optional; its tests say so.
    jax = None

# name -> switches
SWITCHES = {
    "label-not-first": {"label": "sorted"},
    "tail-ascending": {"descending": False},
    "prefix-sums": {"sums": "earlier"},
    "weights-not-permuted": {"place": "class"},
    "order-by-student": {"by_student": True},
    "student-temperature": {"student_temperature": True},
    "temperature-ignored": {"weight_temperature": "ignored"},
    "temperature-squared": {"tau_power": 2},
    "extra-cross-entropy": {"ce": 1.0},
    "mean-over-classes": {"classes": "mean"},
    "sum-over-batch": {"batch": "sum"},
    "uniform-weights": {"weights": "uniform"},
    "renormalised-tail": {"weights": "renormalised"},
    "eps-in-log": {"eps": 1e-10},
    "label-last": {"label": "last"},
    "label-twice": {"label": "twice"},
    "label-missing": {"label": "missing"},
    "not-sorted": {"by_index": True},
    "inverse-permutation": {"inverse": True},
    "full-softmax": {"sums": "all"},
    "tail-excludes-self": {"sums": "strict"},
    "weights-sorted": {"place": "sorted"},
    "weights-reversed": {"place": "reversed"},
    "position-weights": {"weights": "position"},
    "label-weight-one": {"weights": "label one"},
    "label-term-only": {"top": 1},
    "truncated": {"top": 3},
    "student-weights": {"weights": "student"},
    "weights-without-softmax": {"weights": "logits"},
    "softmax-over-batch": {"weights": "batch"},
    "temperature-inverted": {"weight_temperature": "inverse"},
    "temperature-fixed": {"weight_temperature": 4.0},
    "temperature-factor": {"tau_power": 1},
    "extra-kd": {"kd": 1.0},
    "student-softmaxed": {"double_softmax": True},
    "standardised-logits": {"standardise": True},
    "constant-factor": {"factor": 0.5},
    "sign-flipped": {"factor": -1.0},
    "log-base": {"factor": 1.0 / math.log(2.0)},
}
MUTANTS = {name: partial(pld, **switches) for name, switches in SWITCHES.items()}
VARIANTS = {
    ("uniform-weights", "ones"): partial(pld, weights="ones"),
    ("eps-in-log", "in the probability"): partial(pld, eps=1e-8, eps_at="probability"),
    ("eps-in-log", "clamp"): partial(pld, eps=1e-12, eps_at="clamp"),
    ("eps-in-log", "float32's eps"): partial(pld, eps=2.0**-23),
    ("truncated", "the list itself"): partial(pld, cut=3),
    ("extra-cross-entropy", "mixed"): partial(pld, factor=0.9, ce=0.1),
    ("extra-kd", "mixed"): partial(pld, factor=0.5, kd=0.5),
}


def no_detach(student_logits, teacher_logits, labels, temperature=1.0):
    return pld(student_logits, teacher_logits, labels, temperature, detach=False)


def naive_exp(student_logits, teacher_logits, labels, temperature=1.0):
    """exp without a shift."""
    order = rank(teacher_logits, labels)
    x = student_logits.gather(1, order)
    steps = torch.log(x.exp().flip(-1).cumsum(-1).flip(-1)) - x
    w = torch.softmax(teacher_logits.detach() / temperature, -1).gather(1, order)
    return (w * steps).sum(-1).mean()


def nan_to_zero(student_logits, teacher_logits, labels, temperature=1.0):
    return torch.nan_to_num(pld(student_logits, teacher_logits, labels, temperature))


def naive_nan_to_zero(student_logits, teacher_logits, labels, temperature=1.0):
    loss = naive_exp(student_logits, teacher_logits, labels, temperature)
    return torch.nan_to_num(loss, nan=0.0, posinf=0.0, neginf=0.0)


def half_inside(student_logits, teacher_logits, labels, temperature=1.0, dtype=torch.bfloat16):
    s, t = student_logits.to(dtype), teacher_logits.to(dtype)
    return pld(s, t, labels, temperature).float()


def half_and_summed(student_logits, teacher_logits, labels, temperature=1.0):
    s, t = student_logits.half(), teacher_logits.half()
    return pld(s, t, labels, temperature, batch="sum").float()


class _Doubled(torch.autograd.Function):
    """A custom backward that forgets a factor."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return 2.0 * grad


class _NoBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        raise NotImplementedError("no backward")


def no_backward(student_logits, teacher_logits, labels, temperature=1.0):
    return pld(_NoBackward.apply(student_logits), teacher_logits, labels, temperature)


def gradient_doubled(student_logits, teacher_logits, labels, temperature=1.0):
    return pld(_Doubled.apply(student_logits), teacher_logits, labels, temperature)


def detached_tail(student_logits, teacher_logits, labels, temperature=1.0):
    """The value is right, but the log-sum-exp is taken as a constant."""
    order = rank(teacher_logits, labels)
    x = student_logits.gather(1, order)
    steps = x.flip(-1).logcumsumexp(-1).flip(-1).detach() - x
    w = torch.softmax(teacher_logits / temperature, -1).gather(1, order).detach()
    return (w * steps).sum(-1).mean()


def no_gradient(student_logits, teacher_logits, labels, temperature=1.0):
    return pld(student_logits.detach(), teacher_logits, labels, temperature)


def nan_gradient(student_logits, teacher_logits, labels, temperature=1.0):
    """where() over a logarithm of 0: the value is right, its gradient 0 * inf."""
    order = rank(teacher_logits, labels)
    x = student_logits.gather(1, order)
    gap = torch.cat([x.flip(-1).logcumsumexp(-1).flip(-1)[:, 1:], x[:, -1:]], 1) - x
    last = torch.arange(x.shape[1]) == x.shape[1] - 1
    steps = torch.where(last, torch.sqrt(gap - gap) * 0.0, F.softplus(gap, threshold=80.0))
    w = torch.softmax(teacher_logits / temperature, -1).gather(1, order).detach()
    return (w * steps).sum(-1).mean()


def in_place(student_logits, teacher_logits, labels, temperature=1.0):
    """Right numbers, and a ruined teacher."""
    w = torch.softmax(teacher_logits / temperature, -1)
    teacher_logits.scatter_(1, labels[:, None], torch.inf)
    order = teacher_logits.argsort(dim=-1, descending=True, stable=True)
    x = student_logits.gather(1, order)
    steps = x.flip(-1).logcumsumexp(-1).flip(-1) - x
    return (w.gather(1, order) * steps).sum(-1).mean()


def not_reduced(student_logits, teacher_logits, labels, temperature=1.0):
    rows = [
        pld(s[None], t[None], y[None], temperature)
        for s, t, y in zip(student_logits, teacher_logits, labels, strict=True)
    ]
    return torch.stack(rows)


def squeezes(student_logits, teacher_logits, labels, temperature=1.0):
    """Fails for a batch of one."""
    return pld(student_logits.squeeze(0), teacher_logits.squeeze(0), labels, temperature)


OTHERS = {
    "overflow": naive_exp,
    "nan-to-zero": nan_to_zero,
    "low-precision": half_inside,
    "gradient-wrong": gradient_doubled,
    "no-gradient": no_gradient,
    "gradient-not-finite": nan_gradient,
    "inputs-modified": in_place,
    "wrong-shape": not_reduced,
    "raises": squeezes,
}


# Mistakes that the checker has no name for.
def margin(student_logits, teacher_logits, labels, temperature=1.0):
    bonus = 0.3 * F.one_hot(labels, student_logits.shape[1])
    return pld(student_logits - bonus, teacher_logits, labels, temperature)


def squared_steps(student_logits, teacher_logits, labels, temperature=1.0):
    order = rank(teacher_logits, labels)
    x = student_logits.gather(1, order)
    steps = (x.flip(-1).logcumsumexp(-1).flip(-1) - x) ** 2
    w = torch.softmax(teacher_logits / temperature, -1).gather(1, order)
    return (w * steps).sum(-1).mean()


def hinge(student_logits, teacher_logits, labels, temperature=1.0):
    x = student_logits.gather(1, rank(teacher_logits, labels))
    return F.relu(1.0 + x[:, 1:] - x[:, :-1]).sum(-1).mean()


def smoothed_weights(student_logits, teacher_logits, labels, temperature=1.0):
    order = rank(teacher_logits, labels)
    x = student_logits.gather(1, order)
    w = torch.softmax(teacher_logits / temperature, -1).gather(1, order)
    w = 0.9 * w + 0.1 / w.shape[1]
    return (w * (x.flip(-1).logcumsumexp(-1).flip(-1) - x)).sum(-1).mean()


def swapped_arguments(student_logits, teacher_logits, labels, temperature=1.0):
    """Student and teacher exchanged, a gradient through the weights."""
    return pld(teacher_logits, student_logits, labels, temperature, detach=False)


UNKNOWN = {f.__name__: f for f in (margin, squared_steps, hinge, smoothed_weights)}


# Right ones, written differently.
def published_listing(student_logits, teacher_logits, labels, temperature=1.0):
    """The listing of the paper's App. C, in our words: no flip, no detach, no tie rule."""
    B, C = teacher_logits.shape
    ascending = teacher_logits.argsort(dim=1)
    others = ascending[ascending != labels[:, None]].reshape(B, C - 1)
    order = torch.cat([others, labels[:, None]], dim=1)
    s, t = student_logits.gather(1, order), teacher_logits.gather(1, order)
    steps = s.logcumsumexp(dim=1) - s
    return (steps * F.softmax(t / temperature, dim=1)).sum(dim=1).mean()


def with_loops(student_logits, teacher_logits, labels, temperature=1.0):
    """One choice after the other; the last term, which is 0, is left out."""
    total = 0.0
    for s, t, y in zip(student_logits, teacher_logits, labels, strict=True):
        q = torch.softmax(t.detach() / temperature, 0)
        left = sorted(range(len(t)), key=lambda c, t=t, y=y: (c != y, -t[c].item()))
        while len(left) > 1:
            total = total - q[left[0]] * F.log_softmax(s[left], 0)[0]
            left = left[1:]
    return total / len(labels)


def masked_softmax(student_logits, teacher_logits, labels, temperature=1.0):
    """log_softmax of the student first, then a [C, C] mask of what is left."""
    s = student_logits.log_softmax(-1)
    keys = teacher_logits.detach().clone()
    keys[torch.arange(len(labels)), labels] = torch.inf
    order = keys.argsort(dim=-1, descending=True, stable=True)
    x = s.gather(1, order)
    gone = torch.ones(x.shape[1], x.shape[1]).tril(-1).bool()
    tails = x[:, None, :].expand(-1, x.shape[1], -1).masked_fill(gone, -torch.inf)
    w = torch.softmax(teacher_logits.detach() / temperature, -1).gather(1, order)
    return (w * (tails.logsumexp(-1) - x)).sum(-1).mean()


def shifted_exp(student_logits, teacher_logits, labels, temperature=1.0):
    """The largest logit taken out, then plain cumulative sums."""
    order = rank(teacher_logits, labels)
    x = student_logits.gather(1, order)
    x = x - x.max(-1, keepdim=True).values.detach()
    steps = x.exp().flip(-1).cumsum(-1).flip(-1).log() - x
    w = torch.softmax(teacher_logits.detach() / temperature, -1).gather(1, order)
    return torch.einsum("nk,nk->", w, steps) / len(labels)


def in_float64(student_logits, teacher_logits, labels, temperature=1.0):
    s, t = student_logits.double(), teacher_logits.detach().double()
    return pld(s, t, labels, temperature)


def other_ties(student_logits, teacher_logits, labels, temperature=1.0):
    """Higher class index first among equals."""
    C = student_logits.shape[1]
    flipped = C - 1 - labels
    return pld(student_logits.flip(-1), teacher_logits.flip(-1), flipped, temperature)


class Module(nn.Module):
    """A module without a temperature argument."""

    def forward(self, student_logits, teacher_logits, labels):
        return pld(student_logits, teacher_logits, labels)


def numpy_pld(student_logits, teacher_logits, labels, temperature=1.0):
    rows = []
    for s, t, y in zip(student_logits, teacher_logits, labels, strict=True):
        order = np.r_[y, [c for c in np.argsort(-t, kind="stable") if c != y]]
        q = np.exp(t / temperature - np.logaddexp.reduce(t / temperature))
        tails = np.logaddexp.accumulate(s[order][::-1])[::-1]
        rows.append(q[order] @ (tails - s[order]))
    return np.mean(rows)


def numpy_gradient(student_logits, teacher_logits, labels, temperature=1.0):
    out = np.zeros_like(student_logits)
    for n, (s, t, y) in enumerate(zip(student_logits, teacher_logits, labels, strict=True)):
        order = np.r_[y, [c for c in np.argsort(-t, kind="stable") if c != y]]
        q = np.exp(t / temperature - np.logaddexp.reduce(t / temperature))
        for k, chosen in enumerate(order):
            tail = order[k:]
            out[n, tail] += q[chosen] * np.exp(s[tail] - np.logaddexp.reduce(s[tail]))
            out[n, chosen] -= q[chosen]
    return out / len(labels)


def numpy_float32(student_logits, teacher_logits, labels, temperature=1.0):
    s, t = student_logits.astype(np.float32), teacher_logits.astype(np.float32)
    return float(numpy_pld(s, t, labels, np.float32(temperature)))


def jax_pld(student_logits, teacher_logits, labels, temperature=1.0):
    t = jax.lax.stop_gradient(teacher_logits)
    first = jnp.arange(t.shape[-1]) == labels[:, None]
    order = jnp.argsort(-jnp.where(first, jnp.inf, t), axis=-1, stable=True)
    x = jnp.take_along_axis(student_logits, order, -1)
    w = jnp.take_along_axis(jax.nn.softmax(t / temperature, -1), order, -1)
    tails = jax.lax.cumlogsumexp(x, axis=1, reverse=True)
    return jnp.mean(jnp.sum(w * (tails - x), axis=-1))


def jax_summed(student_logits, teacher_logits, labels, temperature=1.0):
    return jax_pld(student_logits, teacher_logits, labels, temperature) * len(labels)


RIGHT = {
    f.__name__: f
    for f in (
        pld,
        published_listing,
        with_loops,
        masked_softmax,
        shifted_exp,
        in_float64,
        other_ties,
        numpy_pld,
        numpy_float32,
    )
}


# ListMLE, for weights="uniform".
def list_mle(student_logits, teacher_logits, labels, eps=0.0):
    return pld(student_logits, teacher_logits, labels, weights="ones", eps=eps)


def list_mle_by_classes(student_logits, teacher_logits, labels):
    return pld(student_logits, teacher_logits, labels, weights="uniform")
