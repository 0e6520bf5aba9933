"""Settings of frozen configurations, changed by name and text."""

import dataclasses

import pytest

from model.training.stages import STAGES
from util.errors import InputError
from util.settings import (
    check_plain_values,
    parse_settings,
    select_fields,
    setting_names,
    with_setting,
)

CONFIG = STAGES["3"]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("bootstrap.final_fraction", "0.2", 0.2),
        ("bootstrap.start_iteration", "10", 10),
        ("crop_area", "0.25,1", (0.25, 1.0)),
        ("steps", "5,9", (5, 9)),
        ("skip_tiny_objects", "yes", True),
        ("max_skip", "4", 4),
        ("max_skip", "none", None),
        ("average_decay", "0.99", 0.99),
        ("schedule", "cosine", "cosine"),
        ("backbone_weights", "a.pth,b.pth", ("a.pth", "b.pth")),
    ],
)
def test_a_text_becomes_a_value_of_the_settings_type(name, text, value):
    changed = with_setting(CONFIG, name, text)
    for part in name.split("."):
        changed = getattr(changed, part)
    assert changed == value and type(changed) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("learning", "1", "'learning' is not known.*learning_rate.*bootstrap.final_fraction"),
        ("bootstrap", "1", "'bootstrap' is not known"),
        ("stage", "0", "'stage' is not known"),
        ("iterations", "many", "iterations='many': a whole number"),
        ("iterations", "1.5", "a whole number"),
        ("close_up", "perhaps", "true or false"),
        ("crop_area", "1", "2 values"),
        ("schedule", "linear", "one of steps, cosine"),
    ],
)
def test_a_wrong_name_or_value_is_refused_with_what_is_valid(name, text, message):
    with pytest.raises(InputError, match=message):
        with_setting(CONFIG, name, text, fixed=("stage",))


def test_every_setting_has_a_name_and_accepts_its_own_value():
    names = setting_names(CONFIG)
    assert {
        field.name
        for field in dataclasses.fields(CONFIG)
        if not dataclasses.is_dataclass(getattr(CONFIG, field.name))
    } <= set(names)
    for name in set(names) - {"mix"}:
        value = CONFIG
        for part in name.split("."):
            value = getattr(value, part)
        assert with_setting(CONFIG, name, value) == CONFIG


def test_settings_are_key_value_pairs():
    assert parse_settings(["a=1", "b.c=x=y"]) == [("a", "1"), ("b.c", "x=y")]
    with pytest.raises(InputError, match="KEY=VALUE"):
        parse_settings(["a"])


def nested_list(depth: int) -> list:
    return [nested_list(depth - 1)] if depth else []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"a": object()}, "holds <object"),
        ({"a": ["x" * 20_000]}, "holds 'xxx"),
        ({"a": 1 << 70}, "holds 1180591620717411303424"),
        ({"a": list(range(20_000))}, "larger, or nested deeper"),
        (nested_list(30), "larger, or nested deeper"),
    ],
)
def test_values_that_no_configuration_holds_are_refused(values, message):
    check_plain_values({"a": [1, 2.5, "text", None, True, (3, {"b": -4})]})
    with pytest.raises(InputError, match=message):
        check_plain_values(values)


def test_fields_are_selected_from_a_larger_configuration_by_their_names():
    @dataclasses.dataclass(frozen=True)
    class Sizes:
        crop_size: int
        frames: int

    assert select_fields(Sizes, CONFIG) == Sizes(CONFIG.crop_size, CONFIG.frames)
