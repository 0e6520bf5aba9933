"""How numbers of things are written."""

import pytest

from util.text import counted


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 frames"),
        (1, "1 frame"),
        (2, "2 frames"),
        (999, "999 frames"),
        (1000, "1,000 frames"),
        (1_234_567, "1,234,567 frames"),
    ],
)
def test_one_alone_is_singular_and_thousands_are_set_apart(count, text):
    assert counted(count, "frame") == text


def test_other_plurals_have_endings_of_their_own():
    assert [counted(count, "loading process", "es") for count in (0, 1, 2)] == [
        "0 loading processes",
        "1 loading process",
        "2 loading processes",
    ]
