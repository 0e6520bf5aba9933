"""A folder of video files with masks of their names is a data set."""

import json
from pathlib import Path

import pytest
from media_trees import labelled, save_mask, write_mjpeg
from toy_trees import file_names, write_tiny_weights

import eval_generic
from dataset import GenericDataset
from util.errors import InputError


def write_video(path: Path) -> None:
    """An AVI under any name: readers go by the content."""
    path.parent.mkdir(exist_ok=True)
    write_mjpeg(path.with_suffix(".made.avi"))
    path.with_suffix(".made.avi").rename(path)


@pytest.mark.parametrize("videos", ["", "Videos"])
@pytest.mark.parametrize("masks", ["", "Annotations"])
def test_masks_are_read_by_the_videos_names(tmp_path, videos, masks):
    for name in ("one.mp4", "two.MKV", "three.avi"):
        write_video(tmp_path / videos / name)
    folder = tmp_path / masks if masks else tmp_path / videos
    save_mask(folder / "one.png", 1)
    save_mask(folder / "two/00002.png", 4)
    save_mask(folder / "two/00005.png", 4, 7)
    save_mask(folder / "three.PNG", 3)
    dataset = GenericDataset(tmp_path)
    assert dataset.names == ("one", "three", "two")
    assert [labelled(video) for video in dataset] == [{0: [1]}, {0: [3]}, {2: [4], 5: [7]}]


def test_masks_or_videos_that_are_missing_or_ambiguous_are_refused(tmp_path):
    write_video(tmp_path / "clip.mp4")
    dataset = GenericDataset(tmp_path)
    words = r"clip\.mp4: no mask; .* as .*/clip\.png, or several in a folder clip/"
    with pytest.raises(InputError, match=words):
        dataset.open("clip")
    save_mask(tmp_path / "clip.png", 1)
    save_mask(tmp_path / "clip/00000.png", 1)
    words = r"clip\.mp4: masks in .*/clip and in .*/clip\.png; keep one"
    with pytest.raises(InputError, match=words):
        dataset.open("clip")
    write_video(tmp_path / "clip.avi")
    with pytest.raises(InputError, match=r"clip\.mp4: clip\.avi has the same name"):
        GenericDataset(tmp_path)


def test_wrong_video_files_of_a_folder_do_not_stop_the_others(tmp_path, monkeypatch, capsys):
    for name in ("bad", "good", "maskless"):
        write_video(tmp_path / f"films/{name}.mp4")
    (tmp_path / "films/bad.mp4").write_bytes(b"no video")
    for name in ("bad", "good"):
        save_mask(tmp_path / f"films/{name}.png", 1)
    weights = write_tiny_weights(tmp_path / "tiny.pth")
    flags = [
        "--data_path",
        tmp_path / "films",
        "--output",
        tmp_path / "out",
        "--model",
        weights,
        "--device",
        "cpu",
        "--resolution",
        "-1",
    ]
    monkeypatch.setattr("sys.argv", ["eval_generic.py", *map(str, flags)])
    with pytest.raises(SystemExit) as ended:
        eval_generic.main()
    out, err = capsys.readouterr()
    assert ended.value.code == 2 and json.loads(out)["frames"] == 12
    first, second = err.splitlines()[-2:]
    assert first.startswith("error:") and "bad.mp4" in first
    assert second.startswith("error:") and "maskless.mp4: no mask" in second
    assert file_names(tmp_path / "out") == ["config.json", "good"]
    assert len(file_names(tmp_path / "out/good")) == 12
