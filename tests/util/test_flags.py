"""Flags: what their help says."""

from util.flags import DefaultsFormatter, FlagParser


def test_help_names_a_default_where_there_is_one_and_once():
    parser = FlagParser(prog="p", formatter_class=DefaultsFormatter)
    parser.add_argument("--none", help="first")
    parser.add_argument("--no", action="store_true", help="second")
    parser.add_argument("--empty", nargs="+", default=[], help="third")
    parser.add_argument("--zero", type=int, default=0, help="fourth")
    parser.add_argument("--said", default="auto", help="auto (default) or cpu")
    text = parser.format_help()
    assert text.count("default") == 2
    assert "fourth (default: 0)" in text and "auto (default) or cpu\n" in text
