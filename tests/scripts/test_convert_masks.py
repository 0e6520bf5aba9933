"""The command that converts masks."""

import pytest
from toy_masks import VIDEOS, as_lists, labels_of, write_masks
from toy_trees import file_names

from dataset.formats import read_masks
from scripts import convert_masks


@pytest.fixture
def convert(monkeypatch, capsys):
    """Run the command; returns the lines that it printed."""

    def run(*arguments: object) -> list[str]:
        monkeypatch.setattr("sys.argv", ["convert_masks.py", *map(str, arguments)])
        convert_masks.main()
        return capsys.readouterr().out.splitlines()

    return run


def test_the_command_says_what_was_read_and_written(convert, tmp_path):
    masks, coco = write_masks(tmp_path / "masks"), tmp_path / "out/masks.json"
    read, written = convert(masks, coco, "--to", "coco")
    assert read == (
        f"{masks}: read as png (mask files: VIDEO/FRAME.png, FRAME.png, or the folder of DAVIS or "
        "YouTube-VOS): 2 videos, 5 objects, masks of 7 frames"
    )
    assert written.startswith(f"{coco}: written as coco (COCO's JSON of images")
    (read, _) = convert(coco, tmp_path / "davis", "--to", "davis")
    assert read.startswith(f"{coco}: read as coco (COCO's JSON of images")
    assert (tmp_path / "davis/ImageSets/2017/val.txt").read_text() == "bear\nlion\n"
    assert labels_of(read_masks(tmp_path / "davis").videos) == as_lists(VIDEOS)


def test_objects_and_formats_can_be_chosen(convert, tmp_path):
    masks = write_masks(tmp_path / "masks", {"bear": VIDEOS["bear"]})
    convert(masks, tmp_path / "out", "--to", "mattes", "--objects", 9, 200, "--from", "png")
    assert file_names(tmp_path / "out/bear") == ["200", "9"]
    assert len(file_names(tmp_path / "out/bear/9")) == 5
