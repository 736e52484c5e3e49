from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from diffunet.errors import PlansError
from diffunet.records import record_from_json


@dataclass(frozen=True)
class Inner:
    name: Literal["a", "b"]
    factor: float = 1.0


@dataclass(frozen=True)
class Outer:
    size: tuple[int, ...]
    pair: tuple[int, str]
    inner: Inner
    by_name: dict[str, Inner] = field(default_factory=dict)
    limit: float | None = None
    is_on: bool = True
    anything: Any = None

    def __post_init__(self):
        if len(self.size) > 2:
            raise ValueError("size is too long")


def valid():
    return {"size": [1, 2], "pair": [1, "x"], "inner": {"name": "a"}}


def load(content):
    return record_from_json(Outer, content, where="file", error=PlansError)


def test_lists_become_tuples_and_ints_become_floats():
    found = load(valid() | {"inner": {"name": "b", "factor": 2}, "limit": 3, "anything": [1]})
    assert found == Outer((1, 2), (1, "x"), Inner("b", 2.0), {}, 3.0, True, [1])
    assert isinstance(found.inner.factor, float)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sise": 1}, "file: unknown key 'sise'; known are"),
        ({"size": 3}, "file.size: expected a list, found 3"),
        ({"size": [1, "x"]}, r"file.size\[1\]: expected int, found 'x'"),
        ({"size": [1.5]}, r"file.size\[0\]: expected int, found 1.5"),
        ({"size": [True]}, r"file.size\[0\]: expected int, found True"),
        ({"size": [1, 2, 3]}, "file: size is too long"),
        ({"pair": [1]}, "file.pair: expected 2 values, found 1"),
        ({"inner": {"name": "c"}}, "file.inner.name: 'c' is not one of 'a', 'b'"),
        ({"inner": {}}, "file.inner: the key 'name' is missing"),
        ({"inner": 3}, "file.inner: expected an object"),
        ({"by_name": {"k": {"name": "z"}}}, "file.by_name.k.name: 'z' is not one of"),
        ({"by_name": []}, "file.by_name: expected an object"),
        ({"limit": "x"}, "file.limit: expected float, found 'x'"),
        ({"is_on": 1}, "file.is_on: expected bool, found 1"),
    ],
)
def test_a_fault_is_named_with_the_full_path_of_its_field(change, message):
    with pytest.raises(PlansError, match=message):
        load(valid() | change)


def test_a_union_of_two_types_is_a_slip_of_the_programmer():
    @dataclass
    class Bad:
        either: int | str

    with pytest.raises(TypeError, match=r"X \| None"):
        record_from_json(Bad, {"either": 1}, where="file", error=PlansError)
