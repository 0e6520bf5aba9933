"""Segment DAVIS: from the first frame's mask of each sequence to the PNGs of its benchmark.

python eval_davis.py --davis_path ROOT --output OUT [--split val|testdev|2016val]
    [--sequences NAME…] [--score]
"""

from pathlib import Path

from dataset import DavisDataset
from inference import cli
from inference.flags import evaluation_parser, read_palette_flag
from util.distributed import exit_together_on_error
from util.errors import InputError
from util.flags import FlagParser


def main() -> None:
    """Flags, data set, run, scores."""
    flags = _parser().parse_args()
    with exit_together_on_error():
        if flags.corrections:
            raise InputError(
                "--corrections: DAVIS gives masks of the first frame only; leave it out, or use "
                "eval_generic.py"
            )
        colours = read_palette_flag(flags)
        dataset = DavisDataset(flags.davis_path, flags.split, flags.sequences, colours=colours)
        if flags.score:
            cli.require_truth(dataset.truth_folder(), dataset.names, "--score")
        defaults = {"resolution": -1, **({"mem_every": 3} if flags.split == "testdev" else {})}
        evaluation = cli.Evaluation(flags, dataset, data={"split": flags.split}, defaults=defaults)
    totals = evaluation.run()
    if flags.score:
        evaluation.score(dataset.truth_folder(), single_object=dataset.single_object)
    cli.print_totals(totals)


def _parser() -> FlagParser:
    description = "Segment DAVIS 2016 or 2017 from the masks of the first frames."
    parser = evaluation_parser("eval_davis.py", description)
    add = parser.add_argument
    root = "holds trainval/ and test-dev/, or JPEGImages/480p, Annotations/480p, ImageSets itself"
    add("--davis_path", type=Path, required=True, metavar="ROOT", help=root)
    split = "default: val, of DAVIS 2017"
    add("--split", choices=("val", "testdev", "2016val"), default="val", help=split)
    add("--sequences", nargs="+", metavar="NAME", help="only these videos")
    score = "score the results (protocol davis): a table, OUT/scores.json, OUT/scores.csv"
    add("--score", action="store_true", help=score)
    return parser


if __name__ == "__main__":
    cli.start(main)
