"""Does the device compute what the published implementations, and the CPU, computed? Legend: H W image size, K objects, T frames."""

import functools
import importlib.util
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

PROBABILITY_TOLERANCE = 2e-4  # of float32, where only rounding differs
LOSS_TOLERANCE = 1e-4  # relative
GRADIENT_TOLERANCE = (
    1e-3  # relative, of norms: a GPU sums gradients of many pixels in another order than the CPU
)
TIE = 1e-3  # two best probabilities this close may swap
PRECISIONS: dict[str, dict[str, Any]] = {
    "float32": {},
    "TF32": {"tf32": True},
    "fp16": {"amp": True, "amp_dtype": "fp16"},
    "bf16": {"amp": True, "amp_dtype": "bf16"},
}
_ON_CPU = ("float32", "bf16")  # which has no TF32, and computes fp16 slowly
_ROOT = Path(__file__).resolve().parents[2]
_DATA = _ROOT / "tests/data"
_SAMPLE = _ROOT / "scripts/sample"
_MASK_WEIGHT = "value_encoder.conv1.weight"


def _precisions(check: Check) -> dict[str, dict[str, Any]]:
    names = PRECISIONS if check.device.type == "cuda" else _ON_CPU[:1] if check.dry_run else _ON_CPU
    return {name: PRECISIONS[name] for name in names}


@functools.cache
def deterministic() -> ModuleType:
    """tests/deterministic.py, which makes the weights and the clip of the published numbers. Raises InputError without a checkout."""
    path = _ROOT / "tests/deterministic.py"
    if not path.is_file():
        raise InputError(
            f"{path}: the published numbers lie in the repository's tests; run the check in a checkout"
        )
    spec = importlib.util.spec_from_file_location("deterministic", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_golden(check: Check) -> Finding:
    """STCN's and PCVOS's published probabilities and labels, in each precision."""
    golden = {**np.load(_DATA / "stcn_golden.npz"), **np.load(_DATA / "pcvos_golden.npz")}
    frames, labels = deterministic().clip()
    count = 3 if check.dry_run else len(frames)  # of the frames
    late = {0: np.where(labels[0] == 1, 1, 0), 4: np.where(labels[4] == 2, 2, 0)}
    last = golden["davis_last/prob11"][None]
    cases = (  # name, system, settings, masks, frames whose probabilities are known, and these
        ("davis", "stcn", {}, labels[0], golden["davis/prob_frames"], golden["davis/prob"]),
        ("davis_last", "stcn", {"mem_every": 3, "include_last": True}, labels[0], [11], last),
        ("youtube", "stcn", {}, late, golden["youtube/prob_frames"], golden["youtube/prob"]),
        (
            "clip5",
            "pcvos",
            {"clip_length": 5},
            labels[0],
            golden["clip5/prob_frames"],
            golden["clip5/prob"],
        ),
        (
            "clip8",
            "pcvos",
            {"clip_length": 8},
            labels[0],
            golden["clip8/prob_frames"],
            golden["clip8/prob"],
        ),
    )
    networks = {name: deterministic().fill(build_network(name)) for name in ("stcn", "pcvos")}
    rows, figures, failures = [], {}, []
    for name, system, settings, masks, known_frames, known in cases[: 1 if check.dry_run else None]:
        cells = []
        for precision, exactness in _precisions(check).items():
            segmenter = VideoSegmenter(
                networks[system], system, device=check.device, **settings, **exactness
            )
            results = list(segmenter.segment(frames[:count], masks))
            expected = {
                int(frame): one
                for frame, one in zip(known_frames, known, strict=True)
                if frame < count
            }
            largest = max(
                _largest_difference(results[frame], one) for frame, one in expected.items()
            )
            differing = sum(
                _labels_differing(result, one)
                for result, one in zip(results, golden[f"{name}/labels"][:count], strict=True)
            )
            figures[f"{name}/{precision}"] = {
                "largest_probability_difference": largest,
                "labels_differing": differing,
            }
            cells.append(f"{largest:.1e}, {differing}")
            if precision == "float32" and not (largest <= PROBABILITY_TOLERANCE and differing == 0):
                failures.append(
                    f"{name}: float32 differs by {largest:.1e} and at {differing} labels outside ties"
                )
        rows.append((name, *cells))
    pixels = labels[:count].size
    text = f"Largest difference of probabilities, and labels that differ outside ties (of {pixels:,}), from the published implementation's."
    return Finding(
        f"{text}\n\n{markdown_table(('case', *_precisions(check)), rows)}", figures, tuple(failures)
    )


def _largest_difference(result: FrameResult, expected: np.ndarray) -> float:
    ours = result.probabilities.float().cpu().numpy()
    padded = np.zeros_like(expected)  # objects yet to come: zero
    padded[: len(ours)] = ours
    return float(np.abs(padded - expected).max())


def _labels_differing(result: FrameResult, labels: np.ndarray) -> int:
    best = result.probabilities.float().cpu().topk(min(2, len(result.probabilities)), dim=0).values
    tie = (best[0] - best[-1] < TIE).numpy() & (len(best) > 1)
    return int(((result.labels != labels) & ~tie).sum())


def run_training_golden(check: Check) -> Finding:
    """STCN's published training numbers: losses and gradient norms of a sample of one and of two objects."""
    golden = dict(np.load(_DATA / "train_golden.npz"))
    rows, figures, failures = [], {}, []
    for name, objects in (("single", 1), ("pair", 2))[: 1 if check.dry_run else None]:
        network = _training_network(objects).to(check.device, memory_format=torch.channels_last)
        sample = [part.to(check.device) for part in _training_sample(objects)]
        for precision in _precisions(check):
            losses, gradients = _train_once(network, sample, objects, precision, check.device)
            loss = float(np.abs(losses / golden[f"{name}/losses"][0, :2] - 1).max())
            norms = dict(
                zip(map(str, golden["grad_norm_names"]), golden[f"{name}/grad_norms"], strict=True)
            )
            gradient = max(
                abs(gradients[parameter] / norm - 1) for parameter, norm in norms.items()
            )
            figures[f"{name}/{precision}"] = {"loss": loss, "gradient_norms": gradient}
            rows.append((name, precision, f"{loss:.1e}", f"{gradient:.1e}"))
            if precision == "float32" and (loss > LOSS_TOLERANCE or gradient > GRADIENT_TOLERANCE):
                failures.append(
                    f"{name}: float32 losses differ by {loss:.1e}, gradient norms by {gradient:.1e} (relative)"
                )
    table = markdown_table(("sample", "precision", "losses", "gradient norms"), rows)
    return Finding(f"Largest relative differences.\n\n{table}", figures, tuple(failures))


def _training_network(objects: int) -> VOSNetwork:
    network = deterministic().fill(build_network("stcn")).train()
    freeze_batch_norms(network)
    if objects == 1:  # the pretraining stage's four channels, widened with zeros
        narrow = torch.from_numpy(deterministic().weight(_MASK_WEIGHT, (64, 4, 7, 7)))
        with torch.no_grad():
            network.value_encoder.conv1.weight.copy_(
                torch.nn.functional.pad(narrow, (0, 0, 0, 0, 0, 1))
            )
    return network


def _training_sample(objects: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames uint8 [1, 3, 3, H, W] and labels [1, 3, H, W]."""
    frames, labels = deterministic().clip(9)
    frames = torch.from_numpy(frames[[0, 4, 8], :112, :192]).permute(0, 3, 1, 2)[None]
    labels = torch.from_numpy(labels[[0, 4, 8], :112, :192])[None]
    return frames, torch.where(labels <= objects, labels, 0)


def _train_once(
    network: VOSNetwork,
    sample: list[torch.Tensor],
    objects: int,
    precision: str,
    device: torch.device,
) -> tuple[np.ndarray, dict[str, float]]:
    """The losses of frames 1 and 2, and the norm of each parameter's gradient."""
    network.zero_grad()
    dtype = AMP_DTYPES.get(precision)
    with cuda_arithmetic(device, tf32=precision == "TF32", amp=dtype is not None):
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            result = Rollout(network)(*sample, [objects], iteration=0)
        scale = (
            2.0**6 if precision == "fp16" else 1.0
        )  # as a loss scaler does, against gradients too small for fp16
        (scale * result.loss).backward()
    gradients = {}
    for name, parameter in network.named_parameters():
        gradient = (
            parameter.grad[:, :4] if objects == 1 and name == _MASK_WEIGHT else parameter.grad
        )
        if gradient is not None:
            gradients[name] = float(gradient.float().norm()) / scale
    return result.frame_losses.float().cpu().numpy(), gradients


def run_cpu_labels(check: Check) -> Finding:
    """The sample clip by every system's shipped network on the CPU and on the device: how many pixels differ, and J of both."""
    frames = [read_image(path) for path in sorted((_SAMPLE / "JPEGImages/sample").glob("*.jpg"))]
    truth = [
        read_label_map(path).labels for path in sorted((_SAMPLE / "Truth/sample").glob("*.png"))
    ]
    frames, truth = (frames[:3], truth[:3]) if check.dry_run else (frames, truth)
    rows, figures, failures = [], {}, []
    for system in SYSTEMS:
        expected = [
            result.labels
            for result in VideoSegmenter.from_checkpoint(None, system, device="cpu").segment(
                frames, truth[0]
            )
        ]
        row = [system, f"{_mean_j(expected, truth):.1f}"]
        for precision, exactness in _precisions(check).items():
            ours = [
                result.labels
                for result in VideoSegmenter.from_checkpoint(
                    None, system, device=str(check.device), **exactness
                ).segment(frames, truth[0])
            ]
            share = float(
                np.mean([one != other for one, other in zip(ours, expected, strict=True)])
            )
            figures[f"{system}/{precision}"] = {
                "share_differing": share,
                "j": _mean_j(ours, truth),
                "j_cpu": _mean_j(expected, truth),
            }
            row.append(f"{100 * share:.3f} %, {_mean_j(ours, truth):.1f}")
            if precision == "float32" and share > 1e-3:
                failures.append(
                    f"{system}: {100 * share:.2f} % of the pixels differ from the CPU's in float32"
                )
        rows.append(row)
    table = markdown_table(("system", "J, CPU", *_precisions(check)), rows)
    text = f"The sample clip, {len(frames)} frames, by the shipped networks: share of pixels that differ from the CPU's in float32, and J."
    return Finding(f"{text}\n\n{table}", figures, tuple(failures))


def _mean_j(labels: list[np.ndarray], truth: list[np.ndarray]) -> float:
    """Mean region similarity over objects and frames after the first, in percent."""
    ids = [int(i) for i in np.unique(truth[0]) if i]
    values = [
        region_similarity(one == i, other == i)
        for one, other in zip(labels[1:], truth[1:], strict=True)
        for i in ids
    ]
    return 100 * float(np.mean(values))
