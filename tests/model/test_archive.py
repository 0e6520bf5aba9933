"""Checkpoint files: what other programs read in them, and that no damage goes unnoticed."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from conftest import tiny_network
from repository import ROOT

from model.archive import read_archive, write_archive
from model.checkpoint import save_weights
from model.training.checkpoints import newest_checkpoint, save_rotating
from model.training.stages import TrainingConfig
from model.training.trainer import Trainer
from util.errors import InputError

PAGE_BYTES = 4096
CONTENT = {"a": torch.arange(20.0).view(4, 5), "b": torch.arange(3), "c": torch.ones(7).half()}
DESCRIPTION = {"network": {"name": "tiny", "similarity": "dot"}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.pth"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a weights file."""
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    save_weights(path, tiny_network())
    return path.read_bytes()


def trainer() -> Trainer:
    settings = {
        "stage": "3",
        "network": "tiny",
        "mix": (),
        "batch_size": 4,
        "iterations": 10,
        "learning_rate": 1e-3,
        "amp": "off",
        "average_decay": 0.9,
    }
    return Trainer(tiny_network(), TrainingConfig(**settings), torch.device("cpu"))


def step(of: Trainer) -> None:
    """One step by made-up gradients."""
    for parameter in of.network.parameters():
        parameter.grad = torch.randn(parameter.shape).to(memory_format=torch.contiguous_format)
    of.step()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a training checkpoint."""
    path, trained = tmp_path_factory.mktemp("checkpoint") / "000001.pth", trainer()
    step(trained)
    trained.state({}).save(path)
    return path.read_bytes()


def same(content: Any) -> bool:
    return content.keys() == CONTENT.keys() and all(
        torch.equal(content[name], value) for name, value in CONTENT.items()
    )


def assert_refused(path: Path, match: str = "damaged") -> None:
    with warnings.catch_warnings(), pytest.raises(InputError, match=match) as refused:
        warnings.simplefilter("ignore")  # of torch, about strange pickles
        read_archive(path)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


# What others read


@pytest.mark.parametrize("compress", [False, True])
def test_torch_reads_the_content_alone_and_the_comment_tells_the_rest(path, compress):
    write_archive(path, CONTENT, DESCRIPTION, compress=compress)
    for code_runs in (True, False):
        assert same(torch.load(path, weights_only=not code_runs))
        if not compress:
            assert same(torch.load(path, weights_only=not code_runs, mmap=True))
    assert same(torch.load(io.BytesIO(path.read_bytes()), weights_only=True))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {
            name: value for name, value in json.loads(archive.comment).items() if name != "sha256"
        } == DESCRIPTION
    content, description = read_archive(path)
    assert same(content) and description["network"] == DESCRIPTION["network"]


@pytest.mark.parametrize("compress", [False, True])
def test_the_same_content_gives_the_same_file(path, compress):
    files = []
    for _ in range(2):
        write_archive(path, CONTENT, DESCRIPTION, compress=compress)
        files.append(path.read_bytes())
    assert files[0] == files[1]


def test_a_public_training_loads_our_weights_strictly(weights, path):
    path.write_bytes(weights)
    network = tiny_network()
    network.load_state_dict(torch.load(path), strict=True)
    assert all(
        name.partition(".")[0] in dict(network.named_children()) for name in torch.load(path)
    )


def test_files_of_other_programs_have_no_description(path):
    torch.save(CONTENT, path)
    assert same(read_archive(path)[0]) and read_archive(path)[1] == {}


# Damage


def flipped(whole: bytes, count: int, seed: int) -> list[bytes]:
    """Copies with one bit flipped: anywhere, and near both ends, where the headers are."""
    random = np.random.default_rng(seed)
    places = [
        *random.integers(0, len(whole), count),
        *random.integers(0, 200, 20),
        *(len(whole) - random.integers(1, 1200, 40)),
    ]
    copies = []
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << int(random.integers(8))
        copies.append(bytes(changed))
    return copies


def zeroed(whole: bytes) -> list[bytes]:
    """Copies with one page of zeros; every page in turn, at most 40 of them."""
    pages = range(0, len(whole), PAGE_BYTES)
    return [
        whole[:start] + bytes(len(whole[start : start + PAGE_BYTES])) + whole[start + PAGE_BYTES :]
        for start in pages[:: max(len(pages) // 40, 1)]
    ]


@pytest.mark.parametrize("file", ["weights", "checkpoint"])
def test_no_flipped_bit_and_no_page_of_zeros_passes(file, path, request):
    whole = request.getfixturevalue(file)
    for damaged in flipped(whole, 40, seed=0) + zeroed(whole):
        path.write_bytes(damaged)
        if damaged != whole:
            assert_refused(path, match="damaged|not a checkpoint")


def test_no_flipped_bit_changes_what_a_file_without_our_checksum_holds(path):
    torch.save(CONTENT, path)
    for damaged in flipped(path.read_bytes(), 150, seed=1):
        path.write_bytes(damaged)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                content, description = read_archive(path)
        except InputError:
            continue
        assert same(content) and description == {}, "a bit of the archive that nothing reads"


@pytest.mark.parametrize("end", [b"", b" ", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_goes_on_or_ends_early_is_damaged(weights, path, end):
    path.write_bytes(weights[: -1 - len(end)] if not end else weights + end)
    assert_refused(path, match="damaged|not a checkpoint")


def test_going_on_passes_over_damaged_and_spoilt_checkpoints(tmp_path, capsys):
    trained = trainer()
    for _ in range(3):
        step(trained)
        save_rotating(tmp_path, trained.state({}), 0)
    flip, spoil = tmp_path / "000003.pth", tmp_path / "000002.pth"
    whole = bytearray(flip.read_bytes())
    whole[len(whole) // 2] ^= 1
    flip.write_bytes(whole)
    content = torch.load(spoil, weights_only=True)
    content["average"]["module.decoder.pred.bias"].fill_(float("nan"))
    torch.save(content, spoil)
    assert newest_checkpoint(tmp_path) == tmp_path / "000001.pth"
    warned = capsys.readouterr().err.splitlines()
    assert (
        len(warned) == 2
        and "SHA-256" in warned[0]
        and "decoder.pred.bias is not finite" in warned[1]
    )


# Files that are made to do harm


def rewritten(path: Path, change: Callable[[str, bytes], bytes], **keywords: Any) -> None:
    """The archive with entries changed, their CRCs right."""
    torch.save(CONTENT, path)
    with (
        zipfile.ZipFile(io.BytesIO(path.read_bytes())) as whole,
        zipfile.ZipFile(path, "w", **keywords) as archive,
    ):
        for entry in whole.infolist():
            archive.writestr(entry.filename, change(entry.filename, whole.read(entry)))


def test_a_tensor_larger_than_what_is_stored_is_refused(path):
    """Which torch 2.4 reads beyond its memory."""
    rewritten(path, lambda name, data: data[: len(data) // 2] if "/data/" in name else data)
    assert_refused(path, match="bytes has .* bytes stored")
    rewritten(path, lambda name, data: b"" if name.endswith("/data/0") else data)
    assert_refused(path, match="a tensor of 80 bytes has 0 bytes stored")


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(path):
    rewritten(
        path,
        lambda name, data: bytes(100 << 20) if name.endswith("/data/0") else data,
        compression=zipfile.ZIP_DEFLATED,
    )
    assert_refused(path, match="would unpack to 105 MB")


def test_two_entries_of_one_name_are_refused(path):
    torch.save(CONTENT, path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(
                next(name for name in archive.namelist() if name.endswith("data.pkl")),
                b"\x80\x02}.",
            )
    assert_refused(path, match="same name")


def protocol_2(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


HUNGRY = {
    "a list of bytes": protocol_2(
        b"cbuiltins\nbytearray\n", b"\x8a\x05" + struct.pack("<q", 10**11)[:5], b"\x85R"
    ),
    "a far place of the memo": protocol_2(b"}", b"r" + struct.pack("<I", 2**32 - 1)),
    "a long text": b"\x80\x04\x8d" + struct.pack("<Q", 10**12) + b".",
    "deep lists": protocol_2(b"]" * 50_000, b"a" * 49_999),
}


MEASURED = """
import resource, sys
from pathlib import Path
from model.checkpoint import read_network
from util.errors import InputError
resource.setrlimit(resource.RLIMIT_CPU, (300, 300))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        read_network(Path(path))
    except InputError as error:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print("refused", len(str(error).splitlines()), (peak - before) // 1024)
"""


def test_a_small_pickle_does_not_take_gigabytes(tmp_path):
    paths = [tmp_path / f"{number}.pth" for number in range(len(HUNGRY))]
    for path, hungry in zip(paths, HUNGRY.values()):
        rewritten(
            path, lambda name, data, hungry=hungry: hungry if name.endswith("data.pkl") else data
        )
    command = [sys.executable, "-W", "ignore", "-c", MEASURED, *map(str, paths)]
    found = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    lines = [line.split() for line in found.stdout.splitlines()]
    assert len(lines) == len(HUNGRY) and all(
        line[:2] == ["refused", "1"] and int(line[2]) < 500 for line in lines
    ), found


def test_the_tar_format_of_old_torch_is_named(path):
    with tarfile.open(path, "w") as archive:
        archive.add(__file__, "pickle")
    assert_refused(path, match="tar format of torch")


def test_other_kinds_of_torch_files_are_named(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch gives scripts up
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    assert_refused(path, match="TorchScript")


class _List:
    """Unpickling it adds to a list."""

    calls: ClassVar[list[int]] = []

    def __reduce__(self):
        return _List.calls.append, (1,)


class _Dictionary(dict):
    """Code, too."""


@pytest.mark.parametrize(
    "content", [{**CONTENT, "code": _List()}, _Dictionary(CONTENT)], ids=["a call", "a class"]
)
def test_pickled_code_is_refused_also_where_its_checksum_is_right(path, content):
    write_archive(path, content)
    assert_refused(path, match="pickled code, which is not run")
    path.write_bytes(pickle.dumps(content))
    assert_refused(path, match="pickled code, which is not run")
    assert not _List.calls
