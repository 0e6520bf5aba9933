"""Score a folder of label maps against the truth: J and F per object and overall.

python scripts/score.py --truth DIR --results DIR [--protocol davis|strict|youtube|lvos|vost]
    [--identities] [--json FILE] [--csv FILE]
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

from pathlib import Path

from inference.output.paths import CONFIG_NAME
from inference.scoring import PROTOCOLS, count_identities, score_folder
from util.errors import InputError, run_command
from util.files import write_json
from util.flags import FlagParser, output_text_path


def main() -> None:
    """Score the folder that the flags name, without replacing the record of its run."""
    flags = _parser().parse_args()
    for path in filter(None, (flags.json, flags.csv)):
        if path.resolve() == (flags.results / CONFIG_NAME).resolve():
            raise InputError(f"{path}: says what the results were made with; name another file")
    if flags.identities and flags.single_object:
        raise InputError("--identities: of no use with --single_object, which merges all ids")
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
    content, tables = report.as_dict(), [report.as_table()]
    if flags.identities:
        identities = count_identities(
            flags.truth, flags.results, sequences=flags.sequences, workers=flags.workers
        )
        content["identities"] = identities.as_dict()
        tables.append(identities.as_table())
    print("\n\n".join(tables))
    if flags.json:
        write_json(flags.json, content)
    if flags.csv:
        report.write_csv(flags.csv)


def _parser() -> FlagParser:
    parser = FlagParser(
        prog="score.py",
        description="Score a folder of label maps (VIDEO/FRAME.png) against the truth: J and F.",
    )
    add = parser.add_argument
    truth = "VIDEO/FRAME.png, or the root of a data set with Annotations/480p or Annotations"
    add("--truth", type=Path, required=True, metavar="DIR", help=truth)
    results = "VIDEO/FRAME.png, in DIR or in DIR/Annotations"
    add("--results", type=Path, required=True, metavar="DIR", help=results)
    protocols = "; ".join(f"{protocol.name}: {protocol.title}" for protocol in PROTOCOLS.values())
    add("--protocol", choices=PROTOCOLS, default="davis", help=protocols.replace("%", "%%"))
    meta = (
        "meta.json of YouTube-VOS (protocol youtube), or val_meta.json of LVOS (protocol lvos), "
        "beside which unseen_videos.txt of LVOS's toolkit tells the unseen videos"
    )
    add("--meta", type=Path, metavar="FILE", help=meta)
    train_meta = (
        "meta.json of the training set, which tells the categories seen in training (default: in "
        "train/ beside --meta)"
    )
    add("--train_meta", type=Path, metavar="FILE", help=train_meta)
    add("--sequences", nargs="+", metavar="NAME", help="score only these videos")
    single_object = "all ids are one object: DAVIS-2016 on the masks of DAVIS-2017"
    add("--single_object", action="store_true", help=single_object)
    identities = "also count swapped identities and objects that are found again after hiding"
    add("--identities", action="store_true", help=identities)
    add("--json", type=output_text_path, metavar="FILE", help="write the scores as JSON")
    add("--csv", type=output_text_path, metavar="FILE", help="write the scores as CSV")
    add("--workers", type=int, metavar="N", help="number of threads (default: one per core)")
    return parser


if __name__ == "__main__":
    run_command(main)
