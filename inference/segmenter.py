"""A network, a system's settings and a device, resolved once; each video gets a session of its own."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from inference.config import SystemConfig, system_config
from inference.session import FrameResult, SegmentationSession, amp_dtype
from model import VOSNetwork, load_network
from model.config import NetworkConfig, Similarity
from model.fusion import inference_copy
from model.network import SLOTS
from util.device import select_device
from util.errors import InputError
from util.text import counted

WEIGHTS_FOLDER = Path(__file__).resolve().parent.parent / "weights"
DEFAULT_LOOKAHEAD = 8


def require_slots(
    network: NetworkConfig, config: SystemConfig, place: str, remedy: str | None = None
) -> None:
    """Raise InputError where the settings use parts that the network of `place` lacks. remedy: what to do; None: another checkpoint, or other settings."""
    lacking = [slot for slot in config.slots if getattr(network, slot) is None]
    if lacking:
        entries = {
            slot: ", ".join(f"{module}.*" for module in SLOTS[slot].modules) for slot in lacking
        }
        remedy = (
            remedy
            or f"use a checkpoint that has them, or leave that out with --set {' '.join(config.slots[slot] for slot in lacking)}"
        )
        raise InputError(
            f"{place}: no weights of {' and '.join(f'{SLOTS[slot].title} ({entries[slot]})' for slot in lacking)}, which system {config.name} needs as it is set; {remedy}"
        )


def shipped_weights(system: str) -> Path:
    """The small network shipped for a system. Raises InputError where the file is missing."""
    path = WEIGHTS_FOLDER / system_config(system).shipped_weights
    if not path.is_file():
        raise InputError(
            f"{path}: the shipped weights are missing; restore the file or name a checkpoint (--model)"
        )
    return path


class VideoSegmenter:
    """Weights, a system and a device; makes a session for each video. Holds nothing of any video.

    network: from build_network or load_network; an inference copy is made of it. system: a row of SYSTEMS. device: auto, cpu, cuda, cuda:1, mps.
    overrides: settings by short or full name (mem_every=3, memory="first-and-latest", top_k=50, resolution=480, …); unknown ones raise InputError.
    """

    def __init__(
        self,
        network: VOSNetwork,
        system: str = "stcn",
        *,
        device: str | torch.device = "auto",
        **overrides: Any,
    ):
        self.config: SystemConfig = system_config(system, **overrides)
        require_slots(network.config, self.config, f"network {network.config.name}")
        self.device = select_device(str(device))
        held_in = amp_dtype(self.config, self.device) if self.config.amp else None
        copy = inference_copy(
            network, winograd=self.device.type == "cpu" and held_in is None, dtype=held_in
        )
        self.network = copy.to(self.device, memory_format=torch.channels_last)

    @staticmethod
    def from_checkpoint(
        path: str | Path | None = None,
        system: str = "stcn",
        *,
        network: str | None = None,
        similarity: Similarity | None = None,
        window: Sequence[int] | None = None,
        device: str = "auto",
        **overrides: Any,
    ) -> "VideoSegmenter":
        """From a weights file, a training checkpoint or a public checkpoint of STCN or PCVOS; None: the system's small network that is shipped. network: its preset,
        similarity: l2, dot or cosine, and window: of its refinement, where they are not to be recognised."""
        path = shipped_weights(system) if path is None else path
        loaded = load_network(path, network, similarity=similarity, window=window)
        require_slots(loaded.config, system_config(system, **overrides), str(path))
        return VideoSegmenter(loaded, system, device=device, **overrides)

    def session(
        self, *, lookahead: int = 1, frame_count: int | None = None
    ) -> "SegmentationSession":
        """A session for one video. lookahead: up to how many frames between two memory writes are computed as one batch, at a latency of lookahead - 1 frames;
        of no meaning for a clip system, whose clips are batches already, at a latency of clip_length - 1, and where each frame needs the masks of the one
        before. frame_count, where known, lets the memory be allocated once."""
        return SegmentationSession(
            self.network, self.device, self.config, lookahead=lookahead, frame_count=frame_count
        )

    def segment(
        self, frames: Iterable[Any], masks: Any, *, lookahead: int = DEFAULT_LOOKAHEAD
    ) -> Iterator[FrameResult]:
        """Segment a whole video: a result for each frame, in order.

        frames: any iterable of uint8 RGB [H, W, 3]. masks: ids [H, W] for the first frame, or {frame index: ids}. Raises InputError for masks of frames
        that never come, once the frames have ended.
        """
        masks = dict(masks) if isinstance(masks, Mapping) else {0: masks}
        if not masks or any(mask is None for mask in masks.values()):
            raise InputError("no mask: give ids [H, W] for the first frame, or {frame index: ids}")
        session = self.session(
            lookahead=lookahead, frame_count=len(frames) if hasattr(frames, "__len__") else None
        )
        for index, frame in enumerate(frames):
            result = session.step(frame, masks.pop(index, None))
            if result is not None:
                yield result
        yield from session.drain()
        if masks:
            raise InputError(
                f"masks are given for frames {sorted(masks)}, but the video has {counted(session.frames_given, 'frame')} (counted from 0)"
            )
