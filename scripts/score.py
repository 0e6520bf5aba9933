"""Score a folder of label maps against the truth: J and F per object and overall.

python scripts/score.py --truth DIR --results DIR [--protocol davis|strict|youtube] [--json FILE] [--csv FILE]
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

from pathlib import Path

from inference.output.recorded_run import CONFIG_NAME
from inference.scoring import PROTOCOLS, score_folder
from util.errors import InputError, run_command
from util.flags import FlagParser, output_text_path


def main() -> None:
    """Flags, scores, table."""
    parser = FlagParser(
        prog="score.py",
        description="Score a folder of label maps (VIDEO/FRAME.png) against the truth: J and F.",
    )
    parser.add_argument(
        "--truth",
        type=Path,
        required=True,
        metavar="DIR",
        help="VIDEO/FRAME.png, or a data set's root with Annotations/480p or Annotations",
    )
    parser.add_argument(
        "--results",
        type=Path,
        required=True,
        metavar="DIR",
        help="VIDEO/FRAME.png, in DIR itself or in DIR/Annotations",
    )
    protocols = "; ".join(
        f"{protocol.name}: {protocol.title}" for protocol in PROTOCOLS.values()
    ).replace("%", "%%")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="davis", help=protocols)
    parser.add_argument(
        "--meta", type=Path, metavar="FILE", help="YouTube-VOS's meta.json (protocol youtube)"
    )
    parser.add_argument(
        "--train_meta",
        type=Path,
        metavar="FILE",
        help="the training set's meta.json, which says what categories were seen (default: in train/ beside --meta)",
    )
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="score only these videos")
    parser.add_argument(
        "--single_object",
        action="store_true",
        help="all ids are one object: DAVIS-2016 on the masks of DAVIS-2017",
    )
    parser.add_argument(
        "--json", type=output_text_path, metavar="FILE", help="write the scores here too"
    )
    parser.add_argument(
        "--csv", type=output_text_path, metavar="FILE", help="write the scores here too"
    )
    parser.add_argument(
        "--workers", type=int, metavar="N", help="threads (default: a thread a core)"
    )
    flags = parser.parse_args()
    for path in filter(None, (flags.json, flags.csv)):
        if path.resolve() == (flags.results / CONFIG_NAME).resolve():
            raise InputError(f"{path}: says what the results were made with; name another file")
    report = score_folder(
        flags.truth,
        flags.results,
        protocol=flags.protocol,
        sequences=flags.sequences,
        meta=flags.meta,
        train_meta=flags.train_meta,
        single_object=flags.single_object,
        workers=flags.workers,
    )
    print(report.as_table())
    if flags.json:
        report.write_json(flags.json)
    if flags.csv:
        report.write_csv(flags.csv)


if __name__ == "__main__":
    run_command(main)
