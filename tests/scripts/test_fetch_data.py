"""Listing data sets, checking archives, and laying them out as the readers expect."""

import hashlib
import io
import re
import stat
import tarfile
import urllib.error
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_benchmarks import write_lvos, write_mose, write_vost
from toy_trees import file_names, write_davis

from dataset import BenchmarkDataset, DavisDataset
from scripts import fetch_data
from scripts.data_tools.catalogue import DATA_SETS
from util.errors import run_command


@pytest.fixture
def fetch(monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """fetch(*arguments): exit code, standard output, standard error; there is no network."""

    def unreachable(url: str, timeout: float) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", unreachable)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["fetch_data.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            run_command(fetch_data.main)
        captured = capsys.readouterr()
        return end.value.code, captured.out, captured.err

    return run


def zip_folder(archive: Path, folder: Path, above: str = "") -> Path:
    """Pack a folder's content. above: the folder inside the archive that holds it."""
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted(folder.rglob("*")):
            opened.write(path, f"{above}{path.relative_to(folder).as_posix()}")
        opened.writestr("__MACOSX/._junk", "litter of macOS")
        opened.writestr(f"{above}.DS_Store", "litter of macOS")
    return archive


def tar_folder(archive: Path, folder: Path, above: str) -> Path:
    with tarfile.open(archive, "w:gz") as opened:
        opened.add(folder, above)
    return archive


def test_the_list_tells_content_size_licence_and_source_of_every_data_set(fetch):
    code, out, _ = fetch("--list")
    assert code == 0
    paragraphs = out.strip().split("\n\n")
    assert [text.partition(":")[0] for text in paragraphs] == list(DATA_SETS)
    for text in paragraphs:
        for title in ("size", "licence", "from", "archives", "read by", "source"):
            assert re.search(rf"^  {title} +\S", text, re.MULTILINE), text
    mose = paragraphs[list(DATA_SETS).index("mose-v1")]
    assert "CC BY-NC-SA 4.0" in mose and "SHA-256 published" in mose


def test_an_archive_is_laid_out_where_the_reader_finds_it(fetch, tmp_path):
    made = write_mose(tmp_path / "made", {"0a1b": 3, "2c3d": 2})
    archive = tar_folder(tmp_path / "valid.tar.gz", made / "valid", "valid")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    flags = ["--archive", archive, "--output", tmp_path / "MOSE"]
    code, out, err = fetch("mose-v1", *flags, "--sha256", digest.upper())
    assert (code, err) == (0, "")
    assert f"SHA-256 {digest}, as expected" in out and "2 videos in JPEGImages" in out
    assert file_names(tmp_path / "MOSE") == ["valid"]
    assert BenchmarkDataset(tmp_path / "MOSE", "mose").names == ("0a1b", "2c3d")


def test_files_beside_the_archive_go_beside_the_frames(fetch, tmp_path):
    made = write_lvos(tmp_path / "made")
    meta, unseen = (made / "val" / name for name in ("val_meta.json", "unseen_videos.txt"))
    for path in (meta, unseen):
        path.rename(tmp_path / path.name)
    archive = zip_folder(tmp_path / "eval.zip", made / "val", "LVOS/val/")
    extras = [tmp_path / "val_meta.json", tmp_path / "unseen_videos.txt"]
    code, out, _ = fetch(
        *("lvos-v2", "--part", "val", "--archive", archive, *extras, "--output", tmp_path / "LVOS")
    )
    assert code == 0 and "none is published to compare it with" in out
    assert file_names(tmp_path / "LVOS/val") == [
        *("Annotations", "JPEGImages", "unseen_videos.txt", "val_meta.json")
    ]
    assert BenchmarkDataset(tmp_path / "LVOS", "lvos").meta_file() is not None


def test_the_only_part_needs_no_name_and_may_be_the_root(fetch, tmp_path):
    archive = zip_folder(tmp_path / "VOST.zip", write_vost(tmp_path / "made"), "VOST/")
    (tmp_path / "data").mkdir()  # an empty folder is no obstacle
    assert fetch("vost", "--archive", archive, "--output", tmp_path / "data")[0] == 0
    assert BenchmarkDataset(tmp_path / "data", "vost").names == ("1_cut_onion",)


def test_annotations_without_frames_are_laid_out_too(fetch, tmp_path):
    for name in ("val/all_classes.json", "test/all_classes.json", "info/categories.json"):
        path = tmp_path / "made" / name
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    archive = zip_folder(tmp_path / "annotations.zip", tmp_path / "made")
    code, out, _ = fetch("burst", "--archive", archive, "--output", tmp_path / "BURST")
    assert code == 0 and f"{tmp_path / 'BURST/annotations'}: info test val\n" in out


def test_parts_are_added_to_a_root_one_by_one(fetch, tmp_path):
    for part in ("trainval", "test-dev"):
        split_list = "2017/val.txt" if part == "trainval" else "2017/test-dev.txt"
        made = write_davis(tmp_path / part, {"bear": 2}, split_list)
        archive = zip_folder(tmp_path / f"DAVIS-2017-{part}-480p.zip", made, "DAVIS/")
        assert fetch("davis-2017", "--archive", archive, "--output", tmp_path / "DAVIS")[0] == 0
    for split in ("val", "testdev"):
        assert DavisDataset(tmp_path / "DAVIS", split).names == ("bear",)


class Response(io.BytesIO):
    """What urlopen returns. size: what the server says."""

    def __init__(self, content: bytes, size: int):
        super().__init__(content)
        self.headers = {"Content-Length": str(size)}


def test_a_direct_link_is_downloaded_beside_the_output_and_used_again(fetch, tmp_path, monkeypatch):
    made = write_davis(tmp_path / "made", {"bear": 2})
    content = zip_folder(tmp_path / "packed.zip", made, "DAVIS/").read_bytes()
    asked = []

    def answer(url: str, timeout: float) -> Response:
        asked.append(url)
        return Response(content, len(content))

    monkeypatch.setattr("urllib.request.urlopen", answer)
    for output in ("one", "two"):
        code, _, err = fetch("davis-2017", "--part", "trainval", "--output", tmp_path / output)
        assert code == 0, err
    assert asked == [DATA_SETS["davis-2017"].parts[0].url]
    archive = tmp_path / "davis-2017-DAVIS-2017-trainval-480p.zip"
    assert archive.read_bytes() == content
    assert DavisDataset(tmp_path / "two").names == ("bear",)


def test_a_download_that_ends_early_leaves_nothing(fetch, tmp_path, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: Response(b"half", 8))
    code, _, err = fetch("davis-2017", "--part", "trainval", "--output", tmp_path / "DAVIS")
    assert code == 2 and "not downloaded (ended after 4 of 8 bytes); download it elsewhere" in err
    assert not any(tmp_path.iterdir())


def zip_of(name: str, mode: int = 0) -> Callable[[Path], Path]:
    """Makes an archive with frames, masks and one more member."""

    def make(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "a.zip", "w") as opened:
            for kind in ("JPEGImages", "Annotations"):
                opened.writestr(f"{kind}/bear/00000.png", "content")
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            opened.writestr(info, "../../elsewhere")
        return folder / "a.zip"

    return make


def tar_of(kind: bytes, name: str = "JPEGImages/bear/odd") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        with tarfile.open(folder / "a.tar", "w") as opened:
            for root in ("JPEGImages", "Annotations"):
                opened.addfile(tarfile.TarInfo(f"{root}/bear/00000.png"), io.BytesIO())
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            opened.addfile(info)
        return folder / "a.tar"

    return make


def damaged(folder: Path) -> Path:
    path = zip_of("more")(folder)
    path.write_bytes(path.read_bytes()[:60])
    return path


def without_masks(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w") as opened:
        opened.writestr("JPEGImages/bear/00000.jpg", "content")
    return folder / "a.zip"


ARCHIVES = {
    "a name that leads outside": (zip_of("../outside.png"), r"'\.\./outside\.png' leads outside"),
    "an absolute name": (zip_of("/tmp/outside.png"), "leads outside the archive; nothing was"),
    "a name of Windows": (zip_of("C:\\outside.png"), "leads outside the archive"),
    "a link in a zip": (
        zip_of("JPEGImages/bear/odd", stat.S_IFLNK | 0o777),
        "'JPEGImages/bear/odd' is a link; an archive of frames and masks holds files only",
    ),
    "a name that leads outside a tar": (tar_of(tarfile.REGTYPE, "a/../../b"), "leads outside"),
    "a link in a tar": (tar_of(tarfile.SYMTYPE), "is a link"),
    "a hard link in a tar": (tar_of(tarfile.LNKTYPE), "is a link"),
    "a device in a tar": (tar_of(tarfile.FIFOTYPE), "is a device"),
    "damage": (damaged, r"a\.zip: damaged, or not a \.zip or \.tar archive"),
    "another data set": (without_masks, "no folder in it holds JPEGImages and Annotations"),
    "no file": (lambda folder: folder / "gone.zip", r"gone\.zip: no such file"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_wrong_archive_is_refused_and_nothing_is_unpacked(fetch, tmp_path, name):
    make, words = ARCHIVES[name]
    archive = make(tmp_path)
    before = file_names(tmp_path)
    code, _, err = fetch(
        "lvos-v1", "--part", "val", "--archive", archive, "--output", tmp_path / "LVOS"
    )
    assert code == 2 and err.count("\n") == 1 and re.search(words, err), err
    assert file_names(tmp_path) == before


REQUESTS = [
    ("", "give --list, or the name of a data set and --output"),
    ("vost", "give --list, or the name of a data set and --output"),
    ("coco --output out", "invalid choice: 'coco'"),
    ("mose-v1 --output out", "mose-v1: say which with --part: valid train"),
    ("mose-v1 --part test --output out", "--part test: mose-v1 has valid train"),
    ("mose-v1 --part valid --output out", "mose-v1 valid: has no direct link; download it from"),
    ("vost --output out", r"VOST\.zip: not downloaded \(Name or service not known\); download it"),
    ("bl30k --output out", "bl30k: is not laid out by this program; it is published at https"),
    ("mose-v1 --archive valid.tar.gz --output out", "its SHA-256 is .*, not 884baecf.*--sha256"),
    ("vost --archive a.zip --output full", "full: is there already; move it away"),
    ("vost --archive a.zip b.zip --output out", r"b\.zip: beside the archive, \.json and \.txt"),
]


@pytest.mark.parametrize(("request_", "words"), REQUESTS)
def test_a_wrong_request_is_one_line(fetch, tmp_path, monkeypatch, request_, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Free)
    (tmp_path / "full").mkdir()
    for name in ("full/file", "valid.tar.gz", "a.zip", "b.zip"):
        (tmp_path / name).write_text("content")
    code, _, err = fetch(*request_.split())
    assert code == 2 and err.count("\n") == 1 and re.search(words, err), err
    assert not (tmp_path / "out").exists()


class Free:
    """A disk with room for everything."""

    free = 1 << 50


def test_a_full_disk_is_found_before_the_download(fetch, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Disk", (), {"free": 10**9}))
    code, _, err = fetch("vost", "--output", tmp_path / "VOST")
    assert code == 2 and "1 GB free, and VOST.zip has 54 GB; make room" in err
