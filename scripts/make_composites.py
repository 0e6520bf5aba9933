"""Make clips with known truth: objects cut out of sequences and pasted over other sequences.

python scripts/make_composites.py ROOT OUT --kind twins returns --count 4 --frames 45

twins       two or three copies of one object, each with its own motion, cross each other
returns     objects leave the frame, or are hidden behind a pillar, and come back
crossings   objects of different sequences cross each other

ROOT has the layout of DAVIS (JPEGImages/480p, Annotations/480p) or JPEGImages/VIDEO and
Annotations/VIDEO, with the mask of every frame; all ids of a mask are one object. OUT gets
JPEGImages/CLIP, Annotations/CLIP (each object's mask where it first appears), Truth/CLIP (every
frame) and composites.json, what each clip consists of. The same flags give the same files.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

from argparse import Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataset import Layout
from dataset.training.cache import ImageCache
from scripts.data_tools.clip_files import write_clip
from scripts.data_tools.composite_kinds import KINDS, Material, draw_composite
from scripts.data_tools.composites import Composite, PastedObject
from scripts.data_tools.footage import LEAST_RUN_FRAMES, Footage
from scripts.studies.playing import check_outside, chosen_names
from util.errors import InputError, run_command
from util.files import atomic_folder, remove_unfinished, write_json
from util.flags import FlagParser, at_least
from util.process import exit_on_sigterm
from util.progress import Progress
from util.text import counted

RECORD_NAME = "composites.json"
_JPEG_QUALITY = 92
_LEAST_FRAMES = 20  # so that something can leave, stay away and come back


def main() -> None:
    """Write the clips that the flags describe."""
    flags = _parse_flags()
    if flags.out.exists():
        raise InputError(f"{flags.out}: exists; name a new folder")
    layout = Layout.of(flags.root)
    check_outside(flags.out, layout)
    material = _read_material(layout, flags.sequences)
    for name in material.footages:
        if name not in material.cutouts:
            print(
                f"{name}: footage only; {LEAST_RUN_FRAMES} frames in a row do not show its whole "
                "object"
            )
    requests = [(kind, number) for kind in flags.kind for number in range(flags.count)]
    remove_unfinished(flags.out.parent, flags.out.name)
    clips, frames = [], 0
    with (
        exit_on_sigterm(),
        atomic_folder(flags.out) as folder,
        Progress(len(requests), "clips") as progress,
    ):
        for kind, number in requests:
            composite, rendered = draw_composite(
                kind, number, material, frames=flags.frames, seed=flags.seed
            )
            name = f"{kind}-{number:02d}"
            frames += write_clip(
                folder,
                name,
                rendered,
                jpeg_quality=_JPEG_QUALITY,
                all_masks=flags.for_training,
            )
            clips.append(_describe(name, composite))
            progress.advance()
        write_json(folder / RECORD_NAME, {"seed": flags.seed, "clips": clips})
    print(f"{flags.out}: {counted(len(clips), 'clip')}, {counted(frames, 'frame')}")


def _parse_flags() -> Namespace:
    parser = FlagParser(
        prog="make_composites.py", description=__doc__, formatter_class=RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("root", type=Path, metavar="ROOT", help="the data set")
    add("out", type=Path, metavar="OUT", help="a new folder")
    add("--sequences", nargs="+", metavar="NAME", help="use only these videos")
    add("--kind", nargs="+", choices=KINDS, default=["twins", "returns"], help="kinds of clips")
    add("--count", type=at_least(1), default=4, metavar="N", help="clips of each kind")
    add("--frames", type=at_least(_LEAST_FRAMES), default=45, metavar="N", help="of each clip")
    add("--seed", type=at_least(0), default=0, help="of the random choices")
    for_training = "Annotations hold the masks of every frame, for train.py --video_root NAME=OUT"
    add("--for_training", action="store_true", help=for_training)
    flags = parser.parse_args()
    flags.kind = list(dict.fromkeys(flags.kind))
    return flags


def _read_material(layout: Layout, sequences: Sequence[str] | None) -> Material:
    """The sequences of these names; None: all. Raises InputError if one is missing or masks are."""
    cache, names = ImageCache(), chosen_names(layout, sequences)
    return Material.of([Footage.of(layout, name, cache) for name in names])


def _describe(name: str, composite: Composite) -> dict[str, Any]:
    """What a clip consists of: the sequences by object id."""
    pasted = {
        element.object_id: element.cutout.footage.name
        for element in composite.elements
        if isinstance(element, PastedObject)
    }
    return {
        "name": name,
        "footage": composite.footage.name,
        "objects": {composite.footage_id: composite.footage.name, **pasted},
        "returning": list(composite.returning),
    }


if __name__ == "__main__":
    run_command(main)
