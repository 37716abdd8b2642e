"""Options: from flat rows to a frozen dataclass and back, every refusal one line that names the field."""

from dataclasses import FrozenInstanceError, dataclass
from typing import Literal

import pytest

from polaris_jax.errors import InputError
from polaris_jax.options import (
    ANY_NUMBER,
    NOT_NEGATIVE,
    POSITIVE,
    again,
    build,
    check,
    execution_fields,
    flatten,
    option,
    override,
    replace,
    section,
)


@dataclass(frozen=True)
class Oven:
    degrees: float = option(180.0, bounds=POSITIVE, doc="degrees Celsius")
    mode: Literal["fan", "grill"] = option("fan", doc="how it heats")
    limit: int | None = option(None, bounds=NOT_NEGATIVE, blank=0, doc="minutes; None: until it is done")


@dataclass(frozen=True)
class Tin:
    width: float = option(bounds=POSITIVE, doc="centimetres")
    height: float = option(bounds=POSITIVE, doc="centimetres")


@dataclass(frozen=True)
class Cake:
    eggs: int = option(3, bounds=NOT_NEGATIVE, doc="how many")
    vegan: bool = option(False, doc="without eggs")
    layers: tuple[tuple[str, int], ...] = option((), doc="(flavour, millimetres)")
    note: str | None = option(None, doc="for the cook")
    tin: Tin = section(Tin(20, 5), as_row=True, formerly="pan", doc="what it is baked in")
    oven: Oven = section(Oven(), execution=True, doc="where it is baked")


@dataclass(frozen=True)
class BigCake(Cake):
    eggs: int = again(Cake, "eggs", 12)


def refused(rows, where="cake"):
    with pytest.raises(InputError) as caught:
        build(Cake, rows, where)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_there_and_back():
    rows = {"eggs": 4, "layers": [["lemon", 12]], "tin.width": 24.5, "oven.limit": 45, "note": "slowly"}
    cake = build(Cake, rows)
    assert cake.layers == (("lemon", 12),)
    assert build(Cake, flatten(cake)) == cake
    assert list(flatten(cake)) == sorted(flatten(cake))


def test_none_is_written_as_its_blank_or_not_at_all():
    rows = flatten(Cake())
    assert rows["oven.limit"] == 0
    assert "note" not in rows
    assert build(Cake, rows) == Cake()


def test_a_section_may_be_a_row_where_it_says_so():
    assert build(Cake, {"tin": [30, 7]}).tin == Tin(30, 7)
    assert "cake.tin=3: a group of values: height, width" in refused({"tin": 3})
    assert "group of values" in refused({"oven": [1, "fan", 2]})


def test_a_name_of_before_is_understood():
    assert build(Cake, {"pan.width": 26}).tin.width == 26
    assert replace(Cake(), {"pan.height": 6}).tin.height == 6


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ({"egs": 3}, "cake.egs=3: no such field; did you mean cake.eggs?"),
        ({"oven.degree": 3}, "did you mean cake.oven.degrees?"),
        ({"eggs": -1}, "cake.eggs=-1: must not be negative"),
        ({"eggs": 2.5}, "cake.eggs=2.5: must be int, like 3"),
        ({"eggs": True}, "must be int"),
        ({"vegan": 1}, "must be bool"),
        ({"oven.degrees": float("nan")}, "cake.oven.degrees=nan: must be positive"),
        ({"oven.degrees": float("inf")}, "must be positive"),
        ({"oven.mode": "steam"}, "cake.oven.mode='steam': choose one of fan, grill"),
        ({"oven.limit": -5}, "must not be negative"),
        ({"layers": "lemon"}, "must be tuple, like ()"),
        ({"eggs": None}, "must be int"),
    ],
)
def test_what_is_impossible_is_refused(rows, says):
    assert says in refused(rows)


def test_a_field_that_must_be_there():
    with pytest.raises(InputError, match=r"config\.eggs=None: is missing; start from recipes\.cake\(\)"):
        build(Cake, {"vegan": True}, start="recipes.cake()", complete=["eggs", "vegan"])


def test_a_copy_changes_and_the_original_cannot():
    cake = Cake()
    assert replace(cake, {"oven.degrees": 200, "eggs": 1}).oven == Oven(200)
    assert replace(cake, {"tin": Tin(1, 1)}).tin == Tin(1, 1)
    assert cake == Cake()
    with pytest.raises(InputError, match=r"config\.oven\.degrees"):
        replace(cake, {"oven.degrees": 0})
    with pytest.raises(FrozenInstanceError):
        cake.eggs = 4


def test_overrides_are_read_by_the_type_of_the_field():
    cake = override(Cake(), ["oven.degrees=200", "note=12", "layers=(('fig', 3),)", "oven.limit=5"])
    assert (cake.oven.degrees, type(cake.oven.degrees)) == (200.0, float)
    assert cake.layers == (("fig", 3),)
    assert cake.oven.limit == 5
    with pytest.raises(InputError, match="did you mean"):
        override(Cake(), ["oven.mod=fan"])


def test_an_option_may_stand_again_with_another_default():
    assert BigCake().eggs == 12
    with pytest.raises(InputError, match="eggs=-1"):
        check(BigCake(eggs=-1))


def test_execution_is_said_once_for_a_whole_section():
    assert execution_fields(Cake) == {"oven.degrees", "oven.mode", "oven.limit"}


def test_any_number_is_still_a_number():
    assert not ANY_NUMBER.hold(float("nan"))
    assert not ANY_NUMBER.hold(float("-inf"))
    assert ANY_NUMBER.hold(-3)
