"""The 2002 NASCAR season: rankings of people instead of classes."""

import csv
from importlib.resources import files


def nascar2002() -> list[list[str]]:
    """The 36 races of the 2002 NASCAR season (Hunter, Annals of Statistics 32(1), 2004).

    A race is a list of the names of its 43 drivers, winner first. 87 drivers took part in one race
    or more. Four of them (Andy Hillenburg, Gary Bradberry, Jason Hedlesky, Randy Renfrow) came
    last in every race they entered: no finite Plackett-Luce score fits them.
    """
    places: dict[int, dict[int, str]] = {}
    table = (files(__package__) / "nascar2002.csv").read_text(encoding="utf-8")
    for line in csv.DictReader(table.splitlines()):
        places.setdefault(int(line["race"]), {})[int(line["position"])] = line["driver"]
    return [[race[place] for place in sorted(race)] for _, race in sorted(places.items())]
