"""What the network computes of one video: masks of the frames of a clip, values for the memory.

Legend: B batch, K objects, L frames of a clip, C channels, M query positions of a frame, h w at
stride 16.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.profiler import record_function

from inference.config import SystemConfig
from inference.feature_cache import FeatureCache
from inference.frames import Geometry
from inference.memory import MemoryBank, PositionKernel
from inference.objects import VideoObjects
from model import FrameFeatures, VOSNetwork
from model.network import STRIDE
from model.soft_aggregation import aggregate_logits
from util.device import AMP_DTYPES, cuda_arithmetic
from util.errors import InputError

# How much is computed at once, so that the memory it takes is bounded whatever the number of
# objects: objects × frames decoded or encoded on the CPU; objects × frames × pixels on a GPU, where
# each operation costs a launch; and (objects + 1) × frames × pixels predicted together.
_OBJECT_FRAMES_ON_CPU = 8
_OBJECT_PIXELS_ON_GPU = 24 * 480 * 864
_PROBABILITY_PIXELS = 64 * 480 * 864


@dataclasses.dataclass(frozen=True)
class GivenFrame:
    """A frame that waits to be predicted."""

    frame_index: int  # in the order of the session
    image: Tensor  # uint8 [3, H, W]
    wanted: bool  # whether its result is
    position: int  # in the video


@dataclasses.dataclass(frozen=True)
class ClipContext:
    """What the frames of a clip are predicted from."""

    objects: VideoObjects
    bank: MemoryBank | None  # None: nothing is memorised yet
    previous_masks: Tensor | None  # [1, K, 16h, 16w] of the frame before; None: it had no objects


@dataclasses.dataclass(frozen=True)
class PredictedFrame:
    """A frame after the network."""

    frame_index: int
    images: Tensor  # [1, 3, 16h, 16w]
    key: Tensor  # [1, C^k, h, w]
    feature_s16: Tensor  # [1, C, h, w]
    probabilities: Tensor  # [1, K + 1, 16h, 16w]

    @property
    def masks(self) -> Tensor:
        """Probabilities of the objects, without the background, [1, K, 16h, 16w]."""
        return self.probabilities[:, 1:]

    def with_probabilities(self, probabilities: Tensor) -> "PredictedFrame":
        """The frame with other probabilities."""
        return dataclasses.replace(self, probabilities=probabilities)

    @property
    def memory_key(self) -> Tensor:
        """The key as the memory holds it, float32 [M, C^k]."""
        return self.key[0].float().permute(1, 2, 0).flatten(0, 1)


class ClipPredictor:
    """A network at work on frames of one geometry. It holds nothing of the video but its cache."""

    def __init__(
        self,
        network: VOSNetwork,
        device: torch.device,
        config: SystemConfig,
        geometry: Geometry,
        cache: FeatureCache | None = None,
    ):
        self._network, self._device, self._config = network, device, config
        self.geometry = geometry
        self._cache = cache
        sigma = config.reading.kernel_sigma
        self._kernel = None if sigma is None else PositionKernel(sigma, geometry.grid)

    def affordable_frames(self, objects: int) -> int:
        """How many frames may be predicted together: their probabilities are held at a time."""
        height, width = (STRIDE * side for side in self.geometry.grid)
        return max(_PROBABILITY_PIXELS // ((objects + 1) * height * width), 1)

    def predict(
        self, frames: Sequence[GivenFrame], context: ClipContext
    ) -> Iterator[PredictedFrame]:
        """Predict the frames of a clip, in order, as many at a time as are needed together."""
        objects = context.objects
        images = self.geometry.to_network([frame.image for frame in frames])
        for together in chunks(len(frames), self._frames_per_prediction(len(objects))):
            parts = images[together].split(self._frames_per_batch(len(objects)))
            positions = iter([frame.position for frame in frames[together]])
            # regions label the components in traces of torch.profiler; benchmarks sum their times
            with record_function("key encoding"):
                features = [
                    self._encode_keys(part, list(itertools.islice(positions, len(part))))
                    for part in parts
                ]
            frame_indices = [frame.frame_index for frame in frames[together]]
            if objects.known_ids:
                predicted = self._predict_objects(frame_indices, features, context)
            else:
                predicted = [_background(part, len(objects)) for part in parts]
            indices = iter(frame_indices)
            for part, batch, probabilities in zip(parts, features, predicted, strict=True):
                for number in range(len(part)):
                    one = slice(number, number + 1)
                    yield PredictedFrame(
                        next(indices),
                        part[one],
                        batch.key[one],
                        batch.feature_s16[one],
                        probabilities[one],
                    )

    def encode_values(
        self, frame: PredictedFrame, masks: Tensor, object_ids: Sequence[int]
    ) -> dict[int, Tensor]:
        """Values [M, C^v] of each object by its id. masks: [1, K, 16h, 16w] of `object_ids`."""
        values: dict[int, Tensor] = {}
        others = masks.sum(1, keepdim=True) - masks
        for part in chunks(masks.shape[1], self._objects_at_once()):
            with record_function("value encoding"):
                encoded = self._network.encode_value(
                    frame.images, frame.feature_s16, masks[:, part], others[:, part]
                )
            for object_id, value in zip(object_ids[part], encoded[0], strict=True):
                values[object_id] = value.permute(1, 2, 0).flatten(0, 1)
        return values

    def require_finite(self, frame_index: int, probabilities: Tensor) -> None:
        """Raise InputError if probabilities [1, K + 1, H, W] are not finite: masks would be blank.

        The softmax over the objects makes the background infinite or NaN wherever an object is.
        """
        if probabilities[:, 0].isfinite().all():
            return
        if self._config.amp:
            remedy = "mixed precision may have overflowed: leave out --amp"
        else:
            remedy = (
                "the network's weights are damaged, or their training diverged: use another"
                " checkpoint"
            )
        raise InputError(f"frame {frame_index}: the probabilities are not finite; {remedy}")

    @contextlib.contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Compute without gradients, in the precision of the settings, inside this context."""
        autocast = torch.autocast(
            self._device.type, amp_dtype(self._config, self._device), enabled=self._config.amp
        )
        exactness = cuda_arithmetic(self._device, tf32=self._config.tf32, amp=self._config.amp)
        with exactness, _no_gradients(), autocast:
            yield

    def _frames_per_prediction(self, objects: int) -> int:
        """Frames that depend on one another, or, if none does, that are computed as one batch."""
        dependent = self._config.refine or self._config.memory.segment_frames is not None
        return self._config.clip_length if dependent else self._frames_per_batch(objects)

    def _frames_per_batch(self, objects: int) -> int:
        """One on a CPU, which a single frame fills; larger tensors are slower to allocate."""
        if self._device.type == "cpu":
            return 1
        return max(self._objects_at_once() // max(objects, 1), 1)

    def _objects_at_once(self) -> int:
        """Objects × frames that are decoded, or encoded, together."""
        if self._device.type == "cpu":
            return _OBJECT_FRAMES_ON_CPU
        height, width = self.geometry.working_size
        return max(_OBJECT_PIXELS_ON_GPU // (height * width), 1)

    def _encode_keys(self, images: Tensor, positions: Sequence[int]) -> FrameFeatures:
        """The features of images [B, 3, 16h, 16w] at these positions of the video."""
        if self._cache is None:
            return self._network.encode_key(images)
        owner = (self._network, self.geometry)
        return self._cache.features(owner, positions, lambda: self._network.encode_key(images))

    def _predict_objects(
        self, frame_indices: Sequence[int], features: Sequence[FrameFeatures], context: ClipContext
    ) -> list[Tensor]:
        """Probabilities [B, K + 1, 16h, 16w], float32, of each batch of frames."""
        keys = torch.cat([batch.key for batch in features])
        if self._config.enhance:
            keys = self._network.enhance_query(keys, context.previous_masks)
        with record_function("reading"):
            readout = self._read(frame_indices, keys, context)
        if self._config.refine:
            clip_features = torch.cat([batch.feature_s16 for batch in features])
            with record_function("refinement"):
                refined = self._network.refine(readout.unsqueeze(0), clip_features.unsqueeze(0))
            readout = refined.squeeze(0)
        parts = readout.split([len(batch.key) for batch in features])
        return [
            self._decode(part, batch, context.objects)
            for part, batch in zip(parts, features, strict=True)
        ]

    def _read(self, frame_indices: Sequence[int], keys: Tensor, context: ClipContext) -> Tensor:
        """Readouts [L, K, C^v, h, w] of the known objects for keys [L, C^k, h, w]."""
        query_key = keys.float().permute(0, 2, 3, 1).flatten(1, 2)  # [L, M, C^k]
        known_ids, top_k = context.objects.known_ids, self._config.top_k
        segment_frames = self._config.memory.segment_frames
        if segment_frames is None:
            readout = context.bank.read(query_key.flatten(0, 1), known_ids, top_k, self._kernel)
        else:
            readout = context.bank.read_progressively(
                query_key,
                known_ids,
                top_k,
                frame_indices=frame_indices,
                segment_frames=segment_frames,
                kernel=self._kernel,
            )
        return readout.unflatten(1, (-1, *self.geometry.grid)).permute(1, 0, 4, 2, 3)

    def _decode(self, readout: Tensor, features: FrameFeatures, objects: VideoObjects) -> Tensor:
        """Probabilities [B, K + 1, 16h, 16w] from readouts [B, K, C^v, h, w] of known objects."""
        with record_function("decoding"):
            logits = [
                self._network.decode(readout[:, part], features).float()
                for part in chunks(readout.shape[1], self._objects_at_once())
            ]
        return aggregate_logits(objects.complete_logits(torch.cat(logits, dim=1))).softmax(1)


def amp_dtype(config: SystemConfig, device: torch.device) -> torch.dtype:
    """The type that mixed precision computes in."""
    default = torch.float16 if device.type == "cuda" else torch.bfloat16
    return AMP_DTYPES.get(config.amp_dtype, default)


def chunks(count: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover `count` elements."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


@contextlib.contextmanager
def _no_gradients() -> Iterator[None]:
    """Without gradients, also if the caller is in inference mode.

    Tensors made in inference mode could not be written to outside of it.
    """
    with torch.inference_mode(False), torch.no_grad():
        yield


def _background(images: Tensor, objects: int) -> Tensor:
    """Probabilities [B, K + 1, H, W] of frames that show none of the objects."""
    probabilities = images.new_zeros(len(images), objects + 1, *images.shape[-2:])
    probabilities[:, 0] = 1
    return probabilities
