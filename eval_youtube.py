"""Segment YouTube-VOS 2018 or 2019: from each object's first mask to the PNGs of its benchmark.

python eval_youtube.py --yv_path ROOT --output OUT [--split valid|test]
    [--output_all|--required_frames_only]
"""

from pathlib import Path

from dataset import YoutubeDataset
from inference import cli
from inference.flags import evaluation_parser, read_palette_flag
from util.distributed import exit_together_on_error
from util.flags import FlagParser


def main() -> None:
    """Flags, data set, run."""
    flags = _parser().parse_args()
    with exit_together_on_error():
        dataset = YoutubeDataset(
            flags.yv_path,
            flags.split,
            flags.output_all,
            required_frames_only=flags.required_frames_only,
            sequences=flags.sequences,
            corrections=flags.corrections,
            colours=read_palette_flag(flags),
        )
        choices = {name: getattr(flags, name) for name in ("output_all", "required_frames_only")}
        data = {"split": flags.split, "frames": dataset.frames_read, **choices}
        evaluation = cli.Evaluation(
            flags, dataset, data=data, defaults={"resolution": 480}, subfolder="Annotations"
        )
    totals = evaluation.run()
    if flags.required_frames_only:
        cli.print_note(
            "only the frames that meta.json asks for were read (--required_frames_only): results "
            "differ from those of all frames"
        )
    cli.print_totals(totals)


def _parser() -> FlagParser:
    description = "Segment YouTube-VOS. Zip OUT/Annotations (VIDEO/FRAME.png) to submit results."
    parser = evaluation_parser("eval_youtube.py", description)
    add = parser.add_argument
    root = "holds valid/ or test/, and all frames in all_frames/ or where the archives unpack to"
    add("--yv_path", type=Path, required=True, metavar="ROOT", help=root)
    add("--split", choices=("valid", "test"), default="valid", help="default: valid")
    add("--sequences", nargs="+", metavar="NAME", help="only these videos")
    every = "write every frame, not only those that meta.json asks for"
    add("--output_all", action="store_true", help=every)
    required = "read and segment only the frames that meta.json asks for: results differ"
    add("--required_frames_only", action="store_true", help=required)
    return parser


if __name__ == "__main__":
    cli.start(main)
