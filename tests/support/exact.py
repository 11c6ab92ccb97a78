"""The truth in 60 digits, written from the papers' sums with mpmath and nothing of pld_edu.

Every function takes plain lists of floats: one row, or for DIST a list of rows. A class that is
-inf in both lists is left out of the sums, which is what masking means.
"""

from collections.abc import Callable, Sequence
from math import inf, isnan

import mpmath

mp = mpmath.mp.clone()
mp.dps = 60

Row = Sequence[float]
Truth = tuple[mpmath.mpf, list[mpmath.mpf]]


def ranking(t: Row, y: int) -> list[int]:
    """The label, then the other classes by descending logit, lower index first among equals."""
    return sorted(range(len(t)), key=lambda i: (i != y, -t[i], i))


def softmax(z: Row, temperature: float = 1.0) -> list[mpmath.mpf]:
    worth = [mp.exp(mp.mpf(x) / mp.mpf(temperature)) for x in z]
    total = mp.fsum(worth)
    return [w / total for w in worth]


def weights(name: str, t: Row, order: Sequence[int], temperature: float) -> list[mpmath.mpf]:
    """alpha in rank order."""
    classes = len(t)
    probabilities = softmax(t, temperature)
    if name == "teacher":
        return [probabilities[i] for i in order]
    if name == "label":
        return [probabilities[order[0]]] + [mp.zero] * (classes - 1)
    if name == "one-hot":
        return [mp.one] + [mp.zero] * (classes - 1)
    if name == "uniform":
        return [mp.one / classes] * classes
    if name == "position":
        powers = [mp.mpf(2) ** (classes - k) - 1 for k in range(1, classes + 1)]
        return [p / mp.fsum(powers) for p in powers] if classes > 1 else [mp.one]
    raise KeyError(name)


def choices(s: Row, order: Sequence[int], alpha: Sequence) -> Truth:
    """Value and gradient of ``sum_k alpha_k (-s_k + log sum_{l >= k} exp(s_l))``."""
    ranked = [mp.mpf(s[i]) for i in order]
    worth = [mp.exp(x) for x in ranked]
    tails, running = [], mp.zero
    for w in reversed(worth):
        running += w
        tails.append(running)
    tails.reverse()
    terms = (a * (mp.log(r) - x) for a, r, x in zip(alpha, tails, ranked, strict=True))
    loss = mp.fsum(terms)
    gradient, pushed = [mp.zero] * len(s), mp.zero
    for i, a, w, r in zip(order, alpha, worth, tails, strict=True):
        pushed += a / r
        gradient[i] = w * pushed - a
    return loss, gradient


def pld(
    s: Row, t: Row, y: int, temperature: float = 1.0, alpha: str | Sequence[float] = "teacher"
) -> Truth:
    """PLD of one row; `alpha` names the weights or gives them in rank order."""
    there = [i for i in range(len(s)) if not (s[i] == t[i] == -inf)]
    s_in, t_in = [s[i] for i in there], [t[i] for i in there]
    order = ranking(t_in, there.index(y))
    if isinstance(alpha, str):
        alpha = weights(alpha, t_in, order, temperature)
    loss, gradient_in = choices(s_in, order, alpha)
    gradient = [mp.zero] * len(s)
    for i, g in zip(there, gradient_in, strict=True):
        gradient[i] = g
    return loss, gradient


def log_likelihood(s: Row, order: Sequence[int], top: int | None = None) -> Truth:
    """Of the first `top` choices; items that `order` leaves out lose against all it lists."""
    top = len(order) if top is None else top
    full = [*order, *(i for i in range(len(s)) if i not in order)]
    loss, gradient = choices(s, full, [mp.mpf(k < top) for k in range(len(s))])
    return -loss, [-g for g in gradient]


def cross_entropy(s: Row, y: int) -> Truth:
    p = softmax(s)
    rest = mp.fsum(q for i, q in enumerate(p) if i != y)
    return -mp.log(p[y]), [-rest if i == y else q for i, q in enumerate(p)]


def kl_divergence(p: Sequence, q: Sequence) -> mpmath.mpf:
    return mp.fsum(a * mp.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)


def kd(s: Row, t: Row, temperature: float) -> mpmath.mpf:
    tau = mp.mpf(temperature)
    return tau**2 * kl_divergence(softmax(t, tau), softmax(s, tau))


def dkd(
    s: Row, t: Row, y: int, temperature: float, alpha: float = 1.0, beta: float = 8.0
) -> mpmath.mpf:
    tau = mp.mpf(temperature)
    p, q = softmax(t, tau), softmax(s, tau)

    def without_label(z: Sequence) -> list:
        return [x for i, x in enumerate(z) if i != y]

    p_rest, q_rest = mp.fsum(without_label(p)), mp.fsum(without_label(q))
    target = kl_divergence([p[y], p_rest], [q[y], q_rest])
    within = kl_divergence(softmax(without_label(t), tau), softmax(without_label(s), tau))
    return tau**2 * (mp.mpf(alpha) * target + mp.mpf(beta) * within)


def dist(
    s: Sequence[Row], t: Sequence[Row], temperature: float, beta: float = 1.0, gamma: float = 1.0
) -> mpmath.mpf:
    """With the 1e-8 of the authors' code."""
    tau = mp.mpf(temperature)
    a, b = [softmax(row, tau) for row in s], [softmax(row, tau) for row in t]

    def pearson(x: Sequence, z: Sequence) -> mpmath.mpf:
        x = [v - mp.fsum(x) / len(x) for v in x]
        z = [v - mp.fsum(z) / len(z) for v in z]
        norms = mp.sqrt(mp.fsum(v * v for v in x)) * mp.sqrt(mp.fsum(v * v for v in z))
        return mp.fsum(v * w for v, w in zip(x, z, strict=True)) / (norms + mp.mpf(1e-8))

    def distance(x: Sequence[Sequence], z: Sequence[Sequence]) -> mpmath.mpf:
        return 1 - mp.fsum(pearson(v, w) for v, w in zip(x, z, strict=True)) / len(x)

    inter, intra = distance(a, b), distance(list(zip(*a, strict=True)), list(zip(*b, strict=True)))
    return tau**2 * (mp.mpf(beta) * inter + mp.mpf(gamma) * intra)


def slope(f: Callable[[list], mpmath.mpf], s: Row, i: int) -> mpmath.mpf:
    """df/ds_i by a central difference with step 1e-18: right to about 35 digits."""
    step = mp.mpf("1e-18")
    up, down = list(map(mp.mpf, s)), list(map(mp.mpf, s))
    up[i] += step
    down[i] -= step
    return (f(up) - f(down)) / (2 * step)


def gradient(f: Callable[[list], mpmath.mpf], s: Row) -> list[mpmath.mpf]:
    return [slope(f, s, i) if s[i] != -inf else mp.zero for i in range(len(s))]


def pld_hessian(s: Row, t: Row, y: int, temperature: float = 1.0) -> list[list[mpmath.mpf]]:
    """Differences of the exact gradient, row by row of the matrix."""
    return [gradient(lambda z, i=i: pld(z, t, y, temperature)[1][i], s) for i in range(len(s))]


def loss_error(got: float, truth: mpmath.mpf) -> float:
    """Relative error; absolute where the truth is below 1e-30."""
    return gradient_error([got], [truth])


def gradient_error(got: Sequence[float], truth: Sequence[mpmath.mpf]) -> float:
    """``max|dg| / max|g|``; absolute where max|g| is below 1e-30; infinite for any NaN."""
    got = [x.item() if hasattr(x, "item") else float(x) for x in got]
    if any(map(isnan, got)) or len(got) != len(truth):
        return inf
    worst = max(abs(mp.mpf(a) - b) for a, b in zip(got, truth, strict=True))
    largest = max(map(abs, truth))
    return float(worst if largest < mp.mpf("1e-30") else worst / largest)
