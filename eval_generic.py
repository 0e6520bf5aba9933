"""Segment any video, from the masks of the frames in which objects first appear.

python eval_generic.py --data_path ROOT --output OUT
    # ROOT/JPEGImages/VIDEO/*.jpg and ROOT/Annotations/VIDEO/*.png
python eval_generic.py --data_path FOLDER --output OUT
    # FOLDER/VIDEO.mp4 and, beside it, VIDEO.png or VIDEO/00000.png, …
python eval_generic.py --data_path ROOT --benchmark mose|lvos|vost|viposeg --output OUT [--score]
    # a benchmark, as its authors lay it out
python eval_generic.py --video FILE_OR_FOLDER --mask PNG_OR_FOLDER --output OUT [--overlay]
python eval_generic.py --video FILE_OR_FOLDER --mask FOLDER --output OUT --direction both
    # also the frames before the masks
python eval_generic.py --video 0|rtsp://… --mask PNG_OR_FOLDER --output OUT [--realtime]
    # until Ctrl-C
"""

from inference import cli, own_videos
from inference.flags import evaluation_parser
from util.distributed import exit_together_on_error
from util.flags import FlagParser


def main() -> None:
    """Flags, data set, run, scores."""
    flags = _parser().parse_args()
    with exit_together_on_error():
        videos = own_videos.open_videos(flags)
        evaluation = cli.Evaluation(
            flags,
            videos.dataset,
            data=videos.data,
            defaults={"resolution": 480},
            subfolder=videos.subfolder,
            direction=flags.direction,
        )
    totals = evaluation.run()
    if (scoring := videos.scoring) is not None:
        evaluation.score(scoring.truth, scoring.protocol, meta=scoring.meta)
    cli.print_totals(totals)


def _parser() -> FlagParser:
    description = "Segment folders of frames, or a video file, from each object's first mask."
    parser = evaluation_parser("eval_generic.py", description)
    own_videos.add_flags(parser)
    return parser


if __name__ == "__main__":
    cli.start(main)
