"""The chapter on failure modes: an anchor for every name, links with an end, its numbers."""

import re
from pathlib import Path

import pytest
import torch

from pld_edu.check import cases
from pld_edu.check.mistakes import BY_NAME
from tests.support import mutants

CHAPTER = Path(__file__).parents[2] / "book" / "failure_modes.md"
TEXT = CHAPTER.read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^\(([\w-]+)\)=\n### \1\n(.*?)(?=^\(|^## )", TEXT, re.M | re.S))
SEEN = re.compile(r"Seen as `warm` (\S+) and `batch-of-two` (\S+)\.\n")


def test_every_cause_has_one_anchor_with_symptom_why_and_fix():
    assert set(SECTIONS) == set(BY_NAME)
    for section in SECTIONS.values():
        assert re.findall(r"^\*\*(\w+)\.\*\*", section, re.M) == ["Symptom", "Why", "Fix"]


def test_links_lead_to_anchors():
    assert set(re.findall(r"\]\(#([\w-]+)\)", TEXT)) <= set(SECTIONS)


@pytest.mark.parametrize("name", sorted(n for n in mutants.MUTANTS if SEEN.search(SECTIONS[n])))
def test_numbers_are_those_of_the_mutant(name):
    for case_id, printed in zip(
        ("warm", "batch-of-two"), SEEN.search(SECTIONS[name]).groups(), strict=True
    ):
        case = next(c for c in cases() if c.id == case_id)
        s, t = torch.tensor(case.student_logits), torch.tensor(case.teacher_logits)
        got = mutants.MUTANTS[name](s, t, torch.tensor(case.labels), case.temperature).item()
        assert got == pytest.approx(float(printed), rel=1e-5)
