"""Sections that compare the device's results with those of the published implementations and of
the CPU.

Legend: H W image size, K objects, T frames.
"""

import dataclasses
import functools
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from dataset.image_file import read_image
from dataset.label_map import read_label_map
from inference import SYSTEMS, FrameResult, VideoSegmenter
from inference.scoring.metrics import region_similarity
from model import VOSNetwork, build_network
from model.network import freeze_batch_norms
from model.training.rollout import Rollout
from scripts.common.tables import markdown_table
from scripts.gpu_check.report import Check, Finding
from util.device import AMP_DTYPES, cuda_arithmetic
from util.errors import InputError

PROBABILITY_TOLERANCE = 2e-4  # of float32, which differs by rounding only
LOSS_TOLERANCE = 1e-4  # relative
# Relative, of norms: a GPU sums the gradients of many pixels in another order than the CPU.
GRADIENT_TOLERANCE = 1e-3
LABEL_TOLERANCE = 1e-3  # share of the pixels
TIE = 1e-3  # the two largest probabilities may swap if they are this close
PRECISIONS: dict[str, dict[str, Any]] = {
    "float32": {},
    "TF32": {"tf32": True},
    "fp16": {"amp": True, "amp_dtype": "fp16"},
    "bf16": {"amp": True, "amp_dtype": "bf16"},
}
_ON_CPU = ("float32", "bf16")  # a CPU has no TF32, and computes fp16 slowly
_FP16_LOSS_SCALE = 2.0**6  # as a loss scaler applies, so that fp16 can hold small gradients
_ROOT = Path(__file__).resolve().parents[2]
_DATA = _ROOT / "tests/data"
_SAMPLE = _ROOT / "scripts/sample"
_MASK_WEIGHT = "value_encoder.conv1.weight"


@dataclasses.dataclass(frozen=True)
class _Case:
    """A run whose results are published: its masks, and the frames with known probabilities."""

    name: str
    system: str
    settings: Mapping[str, Any]
    masks: Any
    frames: Sequence[int]
    probabilities: np.ndarray


def _precisions(check: Check) -> dict[str, dict[str, Any]]:
    names = PRECISIONS if check.device.type == "cuda" else _ON_CPU[:1] if check.dry_run else _ON_CPU
    return {name: PRECISIONS[name] for name in names}


@functools.cache
def deterministic() -> ModuleType:
    """tests/deterministic.py, which makes the weights and the clip of the published numbers.

    Raises: InputError outside a checkout of the repository.
    """
    path = _ROOT / "tests/deterministic.py"
    if not path.is_file():
        raise InputError(
            f"{path}: not found; the published numbers are part of the repository's tests, so run "
            "the check in a checkout"
        )
    spec = importlib.util.spec_from_file_location("deterministic", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_golden(check: Check) -> Finding:
    """Probabilities and labels published for STCN and PCVOS, in each precision."""
    golden = {**np.load(_DATA / "stcn_golden.npz"), **np.load(_DATA / "pcvos_golden.npz")}
    frames, labels = deterministic().clip()
    frames = frames[: 3 if check.dry_run else None]
    networks = {name: deterministic().fill(build_network(name)) for name in ("stcn", "pcvos")}
    rows, figures, failures = [], {}, []
    for case in _cases(golden, labels)[: 1 if check.dry_run else None]:
        cells = []
        for precision, settings in _precisions(check).items():
            segmenter = VideoSegmenter(
                networks[case.system],
                case.system,
                device=check.device,
                **case.settings,
                **settings,
            )
            results = list(segmenter.segment(frames, case.masks))
            known = golden[f"{case.name}/labels"][: len(frames)]
            largest, differing = _differences(results, case, known)
            figures[f"{case.name}/{precision}"] = {
                "largest_probability_difference": largest,
                "labels_differing": differing,
            }
            cells.append(f"{largest:.1e}, {differing}")
            if precision == "float32" and not (largest <= PROBABILITY_TOLERANCE and differing == 0):
                failures.append(
                    f"{case.name}: float32 differs by {largest:.1e} "
                    f"and at {differing} labels outside ties"
                )
        rows.append((case.name, *cells))
    text = (
        "Difference from the published implementation: the largest of a probability, and the "
        f"number of labels that differ outside ties (of {labels[: len(frames)].size:,})."
    )
    table = markdown_table(("case", *_precisions(check)), rows)
    return Finding(f"{text}\n\n{table}", figures, tuple(failures))


def _cases(golden: Mapping[str, np.ndarray], labels: np.ndarray) -> list[_Case]:
    late = {0: np.where(labels[0] == 1, 1, 0), 4: np.where(labels[4] == 2, 2, 0)}

    def case(name: str, system: str, settings: dict[str, Any], masks: Any) -> _Case:
        frames, probabilities = golden[f"{name}/prob_frames"], golden[f"{name}/prob"]
        return _Case(name, system, settings, masks, frames, probabilities)

    last = golden["davis_last/prob11"][None]
    settings = {"mem_every": 3, "include_last": True}
    return [
        case("davis", "stcn", {}, labels[0]),
        _Case("davis_last", "stcn", settings, labels[0], [11], last),
        case("youtube", "stcn", {}, late),
        case("clip5", "pcvos", {"clip_length": 5}, labels[0]),
        case("clip8", "pcvos", {"clip_length": 8}, labels[0]),
    ]


def _differences(
    results: Sequence[FrameResult], case: _Case, labels: np.ndarray
) -> tuple[float, int]:
    """Returns: the largest difference of a probability, and the number of labels that differ."""
    known = zip(case.frames, case.probabilities, strict=True)
    largest = max(
        _largest_difference(results[frame], expected)
        for frame, expected in known
        if frame < len(results)
    )
    differing = sum(map(count_differing_labels, results, labels))
    return largest, differing


def _largest_difference(result: FrameResult, expected: np.ndarray) -> float:
    ours = result.probabilities.float().cpu().numpy()
    padded = np.zeros_like(expected)  # objects that appear later have probability zero
    padded[: len(ours)] = ours
    return float(np.abs(padded - expected).max())


def count_differing_labels(result: FrameResult, labels: np.ndarray) -> int:
    """The number of pixels outside ties whose label is not that of `labels` [H, W]."""
    best = result.probabilities.float().cpu().topk(min(2, len(result.probabilities)), dim=0).values
    tie = (best[0] - best[-1] < TIE).numpy() & (len(best) > 1)
    return int(((result.labels != labels) & ~tie).sum())


def run_training_golden(check: Check) -> Finding:
    """Losses and gradient norms published for STCN, of a sample of one and one of two objects."""
    golden = dict(np.load(_DATA / "train_golden.npz"))
    rows, figures, failures = [], {}, []
    for name, objects in (("single", 1), ("pair", 2))[: 1 if check.dry_run else None]:
        network = _training_network(objects).to(check.device, memory_format=torch.channels_last)
        sample = [part.to(check.device) for part in _training_sample(objects)]
        norms = dict(
            zip(map(str, golden["grad_norm_names"]), golden[f"{name}/grad_norms"], strict=True)
        )
        for precision in _precisions(check):
            losses, gradients = _train_once(network, sample, objects, precision)
            loss = float(np.abs(losses / golden[f"{name}/losses"][0, :2] - 1).max())
            gradient = max(abs(gradients[key] / norm - 1) for key, norm in norms.items())
            figures[f"{name}/{precision}"] = {"loss": loss, "gradient_norms": gradient}
            rows.append((name, precision, f"{loss:.1e}", f"{gradient:.1e}"))
            if precision == "float32" and (loss > LOSS_TOLERANCE or gradient > GRADIENT_TOLERANCE):
                failures.append(
                    f"{name}: float32 losses differ by {loss:.1e}, "
                    f"gradient norms by {gradient:.1e} (relative)"
                )
    table = markdown_table(("sample", "precision", "losses", "gradient norms"), rows)
    return Finding(f"Largest relative differences.\n\n{table}", figures, tuple(failures))


def _training_network(objects: int) -> VOSNetwork:
    network = deterministic().fill(build_network("stcn")).train()
    freeze_batch_norms(network)
    if objects == 1:  # the pretraining stage has four input channels; a fifth is zero
        narrow = torch.from_numpy(deterministic().weight(_MASK_WEIGHT, (64, 4, 7, 7)))
        with torch.no_grad():
            network.value_encoder.conv1.weight.copy_(
                torch.nn.functional.pad(narrow, (0, 0, 0, 0, 0, 1))
            )
    return network


def _training_sample(objects: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns: frames uint8 [1, 3, 3, H, W] and labels [1, 3, H, W]."""
    frames, labels = deterministic().clip(9)
    frames = torch.from_numpy(frames[[0, 4, 8], :112, :192]).permute(0, 3, 1, 2)[None]
    labels = torch.from_numpy(labels[[0, 4, 8], :112, :192])[None]
    return frames, torch.where(labels <= objects, labels, 0)


def _train_once(
    network: VOSNetwork, sample: Sequence[torch.Tensor], objects: int, precision: str
) -> tuple[np.ndarray, dict[str, float]]:
    """Returns: the losses of frames 1 and 2, and the norm of each parameter's gradient."""
    network.zero_grad()
    device, dtype = sample[0].device, AMP_DTYPES.get(precision)
    with cuda_arithmetic(device, tf32=precision == "TF32", amp=dtype is not None):
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            result = Rollout(network)(*sample, [objects], iteration=0)
        scale = _FP16_LOSS_SCALE if precision == "fp16" else 1.0
        (scale * result.loss).backward()
    gradients = {}
    for name, parameter in network.named_parameters():
        if parameter.grad is not None:
            narrow = objects == 1 and name == _MASK_WEIGHT
            gradient = parameter.grad[:, :4] if narrow else parameter.grad
            gradients[name] = float(gradient.float().norm()) / scale
    return result.frame_losses.float().cpu().numpy(), gradients


def run_cpu_labels(check: Check) -> Finding:
    """Labels of the sample clip by every system's shipped network, compared with the CPU's."""
    frames = [read_image(path) for path in sorted((_SAMPLE / "JPEGImages/sample").glob("*.jpg"))]
    truth = [
        read_label_map(path).labels for path in sorted((_SAMPLE / "Truth/sample").glob("*.png"))
    ]
    frames, truth = (frames[:3], truth[:3]) if check.dry_run else (frames, truth)

    def labels_of(system: str, device: str, **settings: Any) -> list[np.ndarray]:
        segmenter = VideoSegmenter.from_checkpoint(None, system, device=device, **settings)
        return [result.labels for result in segmenter.segment(frames, truth[0])]

    rows, figures, failures = [], {}, []
    for system in SYSTEMS:
        expected = labels_of(system, "cpu")
        j_cpu = _mean_j(expected, truth)
        row = [system, f"{j_cpu:.1f}"]
        for precision, settings in _precisions(check).items():
            ours = labels_of(system, str(check.device), **settings)
            share, j = float(np.mean(np.stack(ours) != np.stack(expected))), _mean_j(ours, truth)
            figures[f"{system}/{precision}"] = {"share_differing": share, "j": j, "j_cpu": j_cpu}
            row.append(f"{100 * share:.3f} %, {j:.1f}")
            if precision == "float32" and share > LABEL_TOLERANCE:
                failures.append(
                    f"{system}: {100 * share:.2f} % of the pixels differ from the CPU's in float32"
                )
        rows.append(row)
    table = markdown_table(("system", "J, CPU", *_precisions(check)), rows)
    text = (
        f"The sample clip, {len(frames)} frames, by the shipped networks: share of pixels that "
        "differ from the CPU's in float32, and J."
    )
    return Finding(f"{text}\n\n{table}", figures, tuple(failures))


def _mean_j(labels: Sequence[np.ndarray], truth: Sequence[np.ndarray]) -> float:
    """Mean region similarity over objects and frames after the first, in percent."""
    ids = [int(i) for i in np.unique(truth[0]) if i]
    values = [
        region_similarity(one == i, other == i)
        for one, other in zip(labels[1:], truth[1:], strict=True)
        for i in ids
    ]
    return 100 * float(np.mean(values))
