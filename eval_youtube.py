"""Segment YouTube-VOS 2018 or 2019: from each object's first mask to PNGs as its benchmark takes them.

python eval_youtube.py --yv_path ROOT --output OUT [--split valid|test] [--output_all|--required_frames_only]
"""

import sys
from pathlib import Path

from dataset import YoutubeDataset
from inference import cli
from util.distributed import exit_together_on_error, is_main


def main() -> None:
    """Flags, data set, run."""
    parser = cli.evaluation_parser(
        "eval_youtube.py",
        "Segment YouTube-VOS from each object's first mask. Results: OUT/Annotations/VIDEO/FRAME.png, to be zipped and submitted.",
    )
    root = "holds valid/ or test/, and all frames in all_frames/valid_all_frames or where the archives unpack to"
    parser.add_argument("--yv_path", type=Path, required=True, metavar="ROOT", help=root)
    parser.add_argument(
        "--split", choices=("valid", "test"), default="valid", help="default: valid"
    )
    parser.add_argument("--sequences", nargs="+", metavar="NAME", help="only these videos")
    parser.add_argument(
        "--output_all",
        action="store_true",
        help="write every frame, not only those meta.json asks for",
    )
    parser.add_argument(
        "--required_frames_only",
        action="store_true",
        help="read and segment only the frames that meta.json asks for: results differ",
    )
    flags = parser.parse_args()
    with exit_together_on_error():
        dataset = YoutubeDataset(
            flags.yv_path,
            flags.split,
            flags.output_all,
            required_frames_only=flags.required_frames_only,
            sequences=flags.sequences,
            corrections=flags.corrections,
            colours=cli.palette_of(flags),
        )
        data = {
            "split": flags.split,
            "frames": dataset.frames_read,
            "output_all": flags.output_all,
            "required_frames_only": flags.required_frames_only,
        }
        evaluation = cli.Evaluation(
            flags, dataset, data=data, defaults={"resolution": 480}, subfolder="Annotations"
        )
    totals = evaluation.run()
    if flags.required_frames_only and is_main():
        print(
            "note: only the frames that meta.json asks for were read (--required_frames_only): results differ from those of all frames",
            file=sys.stderr,
        )
    cli.finish(totals)


if __name__ == "__main__":
    cli.start(main)
