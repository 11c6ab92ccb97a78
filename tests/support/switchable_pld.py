"""PLD in plain PyTorch with a switch for each mistake; nothing here imports the package."""

import torch
import torch.nn.functional as F


def rank(teacher_logits, labels, descending=True, label="first"):
    """Classes in rank order; `label` is where the label goes."""
    rows = []
    for t, y in zip(teacher_logits.tolist(), labels.tolist(), strict=True):
        order = sorted(range(len(t)), key=lambda c: -t[c] if descending else t[c])
        rest = [c for c in order if c != y]
        rows.append(
            {
                "first": [y, *rest],
                "sorted": order,
                "last": [*rest, y],
                "twice": [y, *order],
                "missing": rest,
            }[label]
        )
    return torch.tensor(rows)


def pld(
    student_logits,
    teacher_logits,
    labels,
    temperature=1.0,
    *,
    label="first",
    descending=True,
    by_student=False,
    by_index=False,
    inverse=False,
    sums="later",
    weights="teacher",
    place="ranked",
    weight_temperature=None,
    student_temperature=False,
    double_softmax=False,
    standardise=False,
    tau_power=0,
    classes="sum",
    batch="mean",
    top=None,
    cut=None,
    skip=0,
    ce=0.0,
    kd=0.0,
    factor=1.0,
    eps=0.0,
    eps_at="sum",
    detach=True,
):
    """PLD, with a switch for each mistake."""
    s = student_logits
    t = teacher_logits.detach() if detach else teacher_logits
    C = t.shape[-1]
    if student_temperature:
        s = s / temperature
    if double_softmax:
        s = s.softmax(-1)
    if standardise:
        s = (s - s.mean(-1, keepdim=True)) / s.std(-1, keepdim=True, correction=0)
    keys = student_logits.detach() if by_student else t.detach()
    if by_index:
        keys = -torch.arange(C).expand_as(t)
    order = rank(keys, labels, descending, label)
    if inverse:
        order = order.argsort(-1)
    order = order[:, :cut]
    x = s.gather(1, order)

    if eps:
        x = x - x.max(-1, keepdim=True).values
        sums_of_exp = x.exp().flip(-1).cumsum(-1).flip(-1)
        if eps_at == "sum":
            steps = torch.log(sums_of_exp + eps) - x
        elif eps_at == "clamp":
            steps = -torch.log((x.exp() / sums_of_exp).clamp(min=eps))
        else:
            steps = -torch.log(x.exp() / sums_of_exp + eps)
    else:
        later = x.flip(-1).logcumsumexp(-1).flip(-1)
        R = {
            "later": later,
            "earlier": x.logcumsumexp(-1),
            "all": x.logsumexp(-1, keepdim=True),
            "strict": torch.cat([later[:, 1:], x[:, -1:]], 1),
        }[sums]
        steps = R - x

    tau = {None: temperature, "ignored": 1.0, "inverse": 1.0 / temperature}.get(
        weight_temperature, weight_temperature
    )
    q = torch.softmax(t / tau, -1)
    if weights == "uniform":
        q = torch.full_like(q, 1.0 / C)
    elif weights == "ones":
        q = torch.ones_like(q)
    elif weights == "label one":
        q = q.scatter(1, labels[:, None], 1.0)
    elif weights == "renormalised":
        rest = q.scatter(1, labels[:, None], 0.0)
        q = (rest / rest.sum(-1, keepdim=True)).scatter(1, labels[:, None], 1.0)
    elif weights == "student":
        q = torch.softmax(student_logits / tau, -1)
    elif weights == "logits":
        q = t / tau
    elif weights == "batch":
        q = torch.softmax(t / tau, 0)
    K = order.shape[1]
    w = q.gather(1, order)
    if place == "class":
        w = q[:, :K]
    elif place == "sorted":
        w = q.sort(-1, descending=True).values[:, :K]
    elif place == "reversed":
        w = w.flip(-1)
    if weights == "position":
        w = torch.tensor([2.0 ** -(k + 1) - 2.0**-C for k in range(C)])
        w = (w / w.sum()).expand(len(t), C)

    terms = (w * steps)[:, skip:top]
    rows = terms.sum(-1) if classes == "sum" else terms.sum(-1) / C
    loss = rows.sum() if batch == "sum" else rows.mean()
    loss = loss * temperature**tau_power * factor
    if ce:
        loss = loss + ce * F.cross_entropy(student_logits, labels)
    if kd:
        loss = loss + kd * temperature**2 * F.kl_div(
            F.log_softmax(student_logits / temperature, -1),
            F.softmax(t / temperature, -1),
            reduction="batchmean",
        )
    return loss
