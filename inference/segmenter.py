"""Weights, settings and a device, resolved once; each video gets a session of its own.

Legend: H W frame size.
"""

import functools
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from inference.config import SystemConfig, system_config
from inference.feature_cache import FeatureCache
from inference.frames import PLAIN_VIEW, View
from inference.prediction import amp_dtype
from inference.propagation import DIRECTIONS, Direction, Propagation
from inference.rereading import require_positions, rereadable
from inference.results import FrameResult
from inference.session import SegmentationSession
from model import VOSNetwork, load_network
from model.config import NetworkConfig, Similarity
from model.fusion import inference_copy
from model.network import SLOTS
from util.device import select_device
from util.errors import InputError

WEIGHTS_FOLDER = Path(__file__).resolve().parent.parent / "weights"
DEFAULT_LOOKAHEAD = 8


def require_slots(
    network: NetworkConfig, config: SystemConfig, source: str, remedy: str | None = None
) -> None:
    """Raise InputError if the settings use slots that a network does not have.

    source: where the network is from. remedy: by default, another checkpoint or other settings.
    """
    missing = [slot for slot in config.slots if getattr(network, slot) is None]
    if not missing:
        return
    parts = [
        f"{SLOTS[slot].title} ({', '.join(f'{module}.*' for module in SLOTS[slot].modules)})"
        for slot in missing
    ]
    without = " ".join(config.slots[slot] for slot in missing)
    remedy = remedy or f"use a checkpoint that has them, or leave that out with --set {without}"
    raise InputError(
        f"{source}: no weights of {' and '.join(parts)}, which system {config.name} needs as it is"
        f" set; {remedy}"
    )


def shipped_weights(system: str | SystemConfig) -> Path:
    """The small network shipped for a system. Raises InputError if the file is missing."""
    path = WEIGHTS_FOLDER / _resolve(system, {}).shipped_weights
    if not path.is_file():
        raise InputError(
            f"{path}: the shipped weights are missing; restore the file or name a checkpoint"
            " (--model)"
        )
    return path


def _resolve(system: str | SystemConfig, overrides: Mapping[str, Any]) -> SystemConfig:
    if isinstance(system, str):
        return system_config(system, **overrides)
    if overrides:
        raise ValueError("overrides change a system given by name; resolved settings take none")
    return system


def _weights_sha256(network: VOSNetwork) -> str:
    """The SHA-256 of all parameters and buffers with their names, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(content.numpy())
    return digest.hexdigest()


class VideoSegmenter:
    """Weights, a system's settings and a device. Holds nothing of any video."""

    def __init__(
        self,
        network: VOSNetwork,
        system: str | SystemConfig = "stcn",
        *,
        device: str | torch.device = "auto",
        **overrides: Any,
    ):
        """Make an inference copy of a network.

        network: from build_network or load_network; it is not changed. system: a row of SYSTEMS, or
        settings that are resolved already. device: auto, cpu, cuda, cuda:1 or mps. overrides: of
        the row's settings, by short or full name, such as mem_every=3, memory="first-and-latest",
        top_k=50 or resolution=480.
        Raises InputError for unknown or contradicting settings, a device that is not there, or a
        network without the slots that the settings use.
        """
        self.config: SystemConfig = _resolve(system, overrides)
        require_slots(network.config, self.config, f"network {network.config.name}")
        self.device = select_device(str(device))
        # of the weights as given, since those of the copy depend on the device
        self._weights_sha256 = _weights_sha256(network)
        dtype = amp_dtype(self.config, self.device) if self.config.amp else None
        use_winograd = self.device.type == "cpu" and dtype is None
        copy = inference_copy(network, winograd=use_winograd, dtype=dtype)
        self.network = copy.to(self.device, memory_format=torch.channels_last)

    @staticmethod
    def from_checkpoint(
        path: str | Path | None = None,
        system: str | SystemConfig = "stcn",
        *,
        network: str | None = None,
        similarity: Similarity | None = None,
        window: Sequence[int] | None = None,
        device: str = "auto",
        **overrides: Any,
    ) -> "VideoSegmenter":
        """Load weights.

        path: a weights file, a training checkpoint, or a public checkpoint of STCN or PCVOS; None:
        the small network that is shipped for the system. network, similarity, window: the preset,
        the similarity (l2, dot or cosine) and the windows of its refinement (frames, rows,
        columns), if the file does not state them. system, device, overrides: as VideoSegmenter.
        Raises InputError as VideoSegmenter does, and for a file that is missing or does not fit.
        """
        config = _resolve(system, overrides)
        path = shipped_weights(config) if path is None else path
        loaded = load_network(path, network, similarity=similarity, window=window)
        require_slots(loaded.config, config, str(path))
        return VideoSegmenter(loaded, config, device=device)

    @property
    def identity(self) -> dict[str, Any]:
        """Settings, network and weights, which decide the results, as plain values."""
        config = self.config.as_dict()
        return {
            "system": config.pop("name"),
            **config,
            "network": self.network.config.name,
            "similarity": self.network.config.similarity,
            "weights_sha256": self._weights_sha256,
        }

    def session(
        self,
        *,
        lookahead: int = 1,
        frame_count: int | None = None,
        backward_from: int | None = None,
        view: View = PLAIN_VIEW,
        cache: FeatureCache | None = None,
    ) -> SegmentationSession:
        """Start a video.

        lookahead: up to how many frames between two memory writes are computed as one batch, at a
        latency of lookahead - 1 frames. It has no effect on a clip system, whose clips are batches
        already, at a latency of clip_length - 1, nor on a system in which each frame needs the
        masks of the one before. frame_count: of the video, if known; the memory is then allocated
        once. backward_from: frames come backwards from the one of this index. view: how the
        network sees the frames; see EnsembleSegmenter for several views. cache: features of this
        video's frames by index, which several sessions may share; None: nothing is shared.
        Raises InputError if lookahead is below 1.
        """
        return SegmentationSession(
            self.network,
            self.device,
            self.config,
            lookahead=lookahead,
            frame_count=frame_count,
            backward_from=backward_from,
            view=view,
            cache=cache,
        )

    def segment(
        self,
        frames: Iterable[Any],
        masks: Any,
        *,
        direction: Direction = "forward",
        lookahead: int = DEFAULT_LOOKAHEAD,
    ) -> Iterator[FrameResult]:
        """Segment a whole video; yields a result for each frame, in order.

        frames: any iterable of uint8 RGB [H, W, 3]. masks: ids [H, W] for the first frame, or
        {frame index: ids}. direction: forward finds objects from their masks on; backward, in the
        frames before; both, in all frames, with both predictions averaged between two masks of an
        object (see inference/propagation.py). lookahead: see `session`.

        Backward and both read the frames more than once, and so does permanent_memory with several
        masks: frames may then not be a generator.
        Raises InputError for frames or masks that do not fit, and for masks of frames that do not
        exist, which may be after the last frame.
        """
        masks = dict(masks) if isinstance(masks, Mapping) else {0: masks}
        if not masks or any(mask is None for mask in masks.values()):
            raise InputError("no mask: give ids [H, W] for the first frame, or {frame index: ids}")
        if (first := min(masks)) < 0:
            raise InputError(f"a mask is given for frame {first}; frames count from 0")
        if direction not in DIRECTIONS:
            raise InputError(
                f"direction {direction!r} is not known; choose one of {', '.join(DIRECTIONS)}"
            )
        if direction == "forward":
            yield from self._segment_forward(frames, masks, lookahead)
            return
        propagation = Propagation(
            functools.partial(self.session, lookahead=lookahead),
            rereadable(frames, f"direction {direction}"),
            masks,
            direction=direction,
            preloaded=masks if self.config.memory.permanent else None,
        )
        for _, result in propagation.results():
            yield result

    def _segment_forward(
        self, frames: Iterable[Any], masks: dict[int, Any], lookahead: int
    ) -> Iterator[FrameResult]:
        """As `segment`; masks are used up."""
        frame_count = len(frames) if hasattr(frames, "__len__") else None
        session = self.session(lookahead=lookahead, frame_count=frame_count)
        if self.config.memory.permanent and len(masks) > 1:
            again = rereadable(frames, "permanent_memory with several masks")
            for frame in again.read_at(sorted(masks)):
                session.preload(frame.image, masks[frame.index], index=frame.index)
        for index, frame in enumerate(frames):
            result = session.step(frame, masks.pop(index, None))
            if result is not None:
                yield result
        yield from session.drain()
        require_positions(masks, session.frames_given)
