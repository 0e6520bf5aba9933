"""Segment DAVIS: from the first frame's mask of each sequence to PNGs as its benchmark takes them, and their scores.

python eval_davis.py --davis_path ROOT --output OUT [--split val|testdev|2016val] [--sequences NAME…] [--score]
"""

from pathlib import Path

from dataset import DavisDataset
from inference import cli
from util.distributed import exit_together_on_error
from util.errors import InputError


def main() -> None:
    """Flags, data set, run, scores."""
    parser = cli.evaluation_parser(
        "eval_davis.py", "Segment DAVIS 2016 or 2017 from the first frame's masks."
    )
    parser.add_argument(
        "--davis_path",
        type=Path,
        required=True,
        metavar="ROOT",
        help="holds trainval/ and test-dev/, or JPEGImages/480p, Annotations/480p, ImageSets itself",
    )
    parser.add_argument(
        "--split",
        choices=("val", "testdev", "2016val"),
        default="val",
        help="default: val, of DAVIS 2017",
    )
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="only these videos")
    parser.add_argument(
        "--score",
        action="store_true",
        help="score the results (davis protocol): a table, OUT/scores.json, OUT/scores.csv",
    )
    flags = parser.parse_args()
    with exit_together_on_error():
        if flags.corrections:
            raise InputError(
                "--corrections: DAVIS gives the first frame's masks alone; leave it out, or use eval_generic.py"
            )
        dataset = DavisDataset(
            flags.davis_path, flags.split, flags.sequences, colours=cli.palette_of(flags)
        )
        if flags.score:
            cli.require_truth(dataset.truth_folder(), dataset.names, "--score")
        defaults = {"resolution": -1, **({"mem_every": 3} if flags.split == "testdev" else {})}
        evaluation = cli.Evaluation(flags, dataset, data={"split": flags.split}, defaults=defaults)
    totals = evaluation.run()
    if flags.score:
        evaluation.score(dataset.truth_folder(), single_object=dataset.single_object)
    cli.finish(totals)


if __name__ == "__main__":
    cli.start(main)
