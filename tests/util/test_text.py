"""Wording: counts, short representations, URLs without secrets even if they are mistyped."""

import pytest

from util.text import counted, short_repr, without_secrets


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
def test_counts_have_singular_plural_and_thousands_separators(count, text):
    assert counted(count, "frame") == text


def test_a_plural_may_have_another_ending():
    assert [counted(count, "loading process", "es") for count in (0, 1, 2)] == [
        "0 loading processes",
        "1 loading process",
        "2 loading processes",
    ]


@pytest.mark.parametrize(
    "value",
    ["x" * 10_000, "a\nb" * 100, [[[["deep"]]]] * 50, 10**10_000, {"a": object()}],
    ids=["long", "lines", "deep", "number", "object"],
)
def test_any_value_has_a_short_representation_of_one_line(value):
    text = short_repr(value)
    assert 0 < len(text) < 600 and "\n" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://bob:pw@host:554/x?token=1#y", "rtsp://host:554/x"),
        ("rtsp:/bob:pw@host/x: no such video", "rtsp:/host/x: no such video"),
        ("rtsp//bob:pw@host/x", "rtsp//host/x"),
        ("rtsp:bob:pw@host/x", "rtsp:host/x"),
        ("rtsp/bob:pw@host/x: no such video", "rtsp/host/x: no such video"),
        ("rtsp/bob:p/w@host/x", "rtsp/host/x"),
        ("bob:pw@host/x", "host/x"),
        ("rtsp://bob@host/x", "rtsp://host/x"),
        ("rtsp://bob:p/w@host/x", "rtsp://host/x"),
        ("rtsp://bob:p@w@host/x", "rtsp://host/x"),
        ("--video=rtsp://bob:pw@host", "--video=rtsp://host"),
        ("value: 'http://host/x?token=pw'", "value: 'http://host/x'"),
        ("http://host/x?token=pw: cannot be opened", "http://host/x: cannot be opened"),
    ],
)
def test_urls_lose_user_password_and_query(text, expected):
    assert without_secrets(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "clips/a@2x.mp4",
        "a:b.avi",
        "12:30:05.mp4: no such video",
        "http://host:80/a@b/x",
        "C:/me@home/a.mp4",
        "out/config.json: made (now 5)",
    ],
)
def test_other_names_are_unchanged(text):
    assert without_secrets(text) == text
