import pytest

from pld_edu import losses
from pld_edu.results.methods import COLOURS, MARKERS, METHODS, TITLES, Setting

OKABE_AND_ITO = {"#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00"}


def test_methods_differ_by_title_colour_and_marker():
    assert {*COLOURS.values()} <= OKABE_AND_ITO | {"#CC79A7"}
    for of in (TITLES, COLOURS, MARKERS):
        assert list(of) == list(METHODS)
        assert len({*of.values()}) == len(METHODS)


def test_every_loss_but_cross_entropys_exists():
    assert [name for name, method in METHODS.items() if method.loss is None] == ["ce"]
    for method in METHODS.values():
        assert method.loss is None or hasattr(losses, method.loss)


@pytest.mark.parametrize(
    ("setting", "name", "title"),
    [
        (Setting("ce", None), "ce", "CE"),
        (Setting("pld", 1.0), "pld-t1", "PLD, T = 1"),
        (Setting("kd", 0.5), "kd-t0.5", "KD, T = 0.5"),
    ],
)
def test_names_of_files_and_titles_of_figures(setting, name, title):
    assert (setting.name, setting.title) == (name, title)
