"""The networks that PCVOS's tables compare: how each is trained, and the weights of each.

Source: PCVOS (Park et al., CVPR 2022), Tables 2 and 7 to 10.
"""

import dataclasses
import re
from collections.abc import Iterable

from inference.config import SYSTEMS
from inference.segmenter import WEIGHTS_FOLDER
from scripts.studies.variants import Weights, Window

_WINDOW_ROLE = re.compile(r"pcvos@(\d+)x(\d+)x(\d+)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Role:
    """How the network of a role was trained.

    clip_frames: predicted together, from the memory alone; 1: frame by frame. frames: of a sample,
    the first with its mask. dice: with the Dice loss of whole clips. refined: with intra-clip
    refinement.
    """

    frames: int
    clip_frames: int
    dice: bool
    refined: bool = True

    @property
    def per_clip(self) -> bool:
        return self.clip_frames > 1

    @property
    def scheme(self) -> str:
        """The training in words."""
        if not self.per_clip:
            return f"frame by frame, {self.frames} frames"
        clips = (self.frames - 1) // self.clip_frames
        return f"per clip, {clips} clips of {self.clip_frames}"

    def __str__(self) -> str:
        dice = ", without Dice" if self.per_clip and not self.dice else ""
        return f"{self.scheme}{dice}, {'' if self.refined else 'no '}refinement"

    def recipe(self) -> list[str]:
        """The flags of train.py that say so."""
        network = ["--network", "pcvos" if self.refined else "stcn"]
        if self == dataclasses.replace(_THREE_FRAMES, refined=self.refined):
            return ["--stage", "3", *network]
        samples = ["--frames", str(self.frames), "--clip_frames", str(self.clip_frames)]
        dice = ["--set", f"dice_weight={int(self.dice)}"]
        return ["--stage", "clip", *network, *samples, *dice]


_THREE_FRAMES = Role(frames=3, clip_frames=1, dice=False)  # as STCN is trained
_PER_CLIP = Role(frames=7, clip_frames=3, dice=True)  # as PCVOS is
# of table 7: with and without per-clip training and refinement
SWITCHED_ROLES = {
    "stcn": dataclasses.replace(_THREE_FRAMES, refined=False),
    "stcn_clip": dataclasses.replace(_PER_CLIP, refined=False),
    "pcvos_traditional": _THREE_FRAMES,
    "pcvos": _PER_CLIP,
}
# Of table 2: also frame by frame on as many frames as the clips have, samples of 5 and 9 frames in
# place of 7, and without Dice. Ours: a sample of 5 or 9 frames has two clips of 2 or 4, as the
# published one of 7 has two of 3.
ROLES = {
    **SWITCHED_ROLES,
    "pcvos_frames7": Role(frames=7, clip_frames=1, dice=False),
    "pcvos_clip5": Role(frames=5, clip_frames=2, dice=True),
    "pcvos_clip9": Role(frames=9, clip_frames=4, dice=True),
    "pcvos_no_dice": Role(frames=7, clip_frames=3, dice=False),
}


def weights_of(given: Iterable[str]) -> Weights:
    """The weights of ROLE=FILE texts; by default the shipped networks, both trained per clip.

    The roles are ROLES, and pcvos@2x5x5 for a network that was trained with such windows. Raises
    InputError for other texts and unknown roles.
    """
    given = list(given)
    roles = [text.partition("=")[0] for text in given]
    windows = dict.fromkeys(role for role in roles if window_of(role))
    shipped = {
        role: WEIGHTS_FOLDER / SYSTEMS[system].shipped_weights
        for role, system in {"stcn_clip": "stcn", "pcvos": "pcvos"}.items()
    }
    return Weights(given, [*ROLES, *windows], shipped)


def window_of(role: str) -> Window | None:
    """(2, 5, 5) for role pcvos@2x5x5; None for roles that name no window."""
    match = _WINDOW_ROLE.fullmatch(role)
    return tuple(map(int, match.groups())) if match else None
