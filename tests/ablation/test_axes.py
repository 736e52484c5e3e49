import pytest

from diffunet.ablation.axes import combinations, parse_axes, split_values
from diffunet.ablation.presets import PRESETS, presets_named
from diffunet.errors import UsageError

TWO = parse_axes(["a.b=1,2", "c=x,y"])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1,0.3", ["1", "0.3"]),
        ("[16,32],[32,[64,1]]", ["[16,32]", "[32,[64,1]]"]),
        ('{"a":1,"b":2},null', ['{"a":1,"b":2}', "null"]),
        ('"a,b","c\\",d",e', ['"a,b"', '"c\\",d"', "e"]),
        (" 1 , 2 ", ["1", "2"]),
        ("https://x/y,z", ["https://x/y", "z"]),
    ],
)
def test_values_are_parted_by_commas_outside_of_brackets_and_quotes(text, values):
    assert split_values(text) == values


def test_all_faults_of_the_words_are_told_at_once():
    with pytest.raises(UsageError) as fault:
        parse_axes(["nothing", "a=", "b=1,,2", "c=1,1", "d=1", "d=2", "=3"])
    message = str(fault.value)
    assert len(message.splitlines()) == 6
    for part in ("--over nothing:", "--over b=1,,2:", "the value 1 stands there twice", "'d' is"):
        assert part in message


def test_a_grid_has_all_combinations_and_the_plans_own_variant_first():
    found = combinations(TWO, one_at_a_time=False)
    assert found[0] == {}
    assert [tuple(each.values()) for each in found[1:]] == [
        ("1", "x"),
        ("1", "y"),
        ("2", "x"),
        ("2", "y"),
    ]
    assert combinations(TWO, one_at_a_time=False, has_own=False) == found[1:]


def test_one_at_a_time_leaves_the_other_fields_as_planned():
    found = combinations(TWO, one_at_a_time=True)
    assert found == [{}, {"a.b": "1"}, {"a.b": "2"}, {"c": "x"}, {"c": "y"}]


def test_a_paper_is_all_of_its_sweeps_and_each_has_a_name_of_its_own():
    for paper, sweeps in PRESETS.items():
        assert presets_named(paper) == sweeps
        for name, preset in sweeps.items():
            assert presets_named(name) == {name: preset}
            assert name.startswith(f"{paper}_")
    assert presets_named("p9") == {}
