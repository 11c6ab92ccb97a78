from pld_edu.data import nascar2002


def test_36_races_of_43_among_87_drivers():
    rankings = nascar2002()
    assert [len(set(ranking)) for ranking in rankings] == [43] * 36
    assert len({driver for ranking in rankings for driver in ranking}) == 87


def test_the_winner_comes_first():
    first = nascar2002()[0]
    assert first[:3] == ["Ward Burton", "Elliott Sadler", "Geoffrey Bodine"]
    assert nascar2002()[-1][-1] == "Dave Blaney"


def test_four_drivers_came_last_in_every_race_they_entered():
    rankings = nascar2002()
    drivers = {driver for ranking in rankings for driver in ranking}
    last = {d for d in drivers if all(r[-1] == d for r in rankings if d in r)}
    assert last == {"Andy Hillenburg", "Gary Bradberry", "Jason Hedlesky", "Randy Renfrow"}
