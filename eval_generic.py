"""Segment any video: folders of frames with masks where objects first appear, or one video file with its mask.

python eval_generic.py --data_path ROOT --output OUT            # ROOT/JPEGImages/VIDEO/*.jpg, ROOT/Annotations/VIDEO/*.png
python eval_generic.py --data_path DIR_OF_MP4 --output OUT      # DIR_OF_MP4/VIDEO.mp4 and, beside it, VIDEO.png or VIDEO/00000.png, …
python eval_generic.py --video FILE_OR_FOLDER --mask PNG_OR_FOLDER --output OUT [--overlay]
python eval_generic.py --video 0|rtsp://…  --mask PNG_OR_FOLDER --output OUT [--realtime]      # until Ctrl-C
"""

from pathlib import Path

from inference import cli
from inference.own_videos import open_dataset
from util.distributed import exit_together_on_error


def main() -> None:
    """Flags, data set, run, scores."""
    parser = cli.evaluation_parser(
        "eval_generic.py",
        "Segment folders of frames, or a video file, from each object's first mask.",
    )
    parser.add_argument(
        "--data_path",
        type=Path,
        metavar="ROOT",
        help="holds JPEGImages/VIDEO/*.jpg and Annotations/VIDEO/*.png, or VIDEO.mp4 and VIDEO.png",
    )
    sources = "a video file, a stack of images, or a folder of frames; a camera's number, or a stream's URL (rtsp://…): until Ctrl-C"
    parser.add_argument("--video", metavar="FILE_OR_FOLDER", help=sources)
    masks = "the first frame's mask (or that of the frame it is named by), or a folder of masks named by their frames"
    parser.add_argument("--mask", type=Path, metavar="PNG_OR_FOLDER", help=masks)
    scale = (
        "values of 16-bit frames that are read as black and white (default: each video's own range)"
    )
    parser.add_argument("--frame_range", type=int, nargs=2, metavar=("LOW", "HIGH"), help=scale)
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="drop frames that come while another is segmented; a video file is played at its own rate",
    )
    parser.add_argument(
        "--stall_seconds",
        type=float,
        default=10.0,
        metavar="S",
        help="end a live source that gives no frame for S seconds (default: %(default)g)",
    )
    parser.add_argument(
        "--sequences", nargs="+", metavar="NAME", help="only these videos of --data_path"
    )
    parser.add_argument(
        "--truth",
        type=Path,
        metavar="DIR",
        help="score the results against VIDEO/FRAME.png, the truth of every frame",
    )
    parser.add_argument(
        "--protocol",
        choices=("strict", "davis"),
        default="strict",
        help="how --truth scores: strict (default) also scores objects that join late",
    )
    flags = parser.parse_args()
    with exit_together_on_error():
        dataset, data = open_dataset(flags)
        if flags.truth is not None:
            cli.require_truth(flags.truth, dataset.names, "--truth")
        evaluation = cli.Evaluation(flags, dataset, data=data, defaults={"resolution": 480})
    totals = evaluation.run()
    if flags.truth is not None:
        evaluation.score(flags.truth, flags.protocol)
    cli.finish(totals)


if __name__ == "__main__":
    cli.start(main)
