"""Wrong requests to scripts/benchmark.py: a request, and the words of the line that refuses it."""

import pytest

from scripts import benchmark
from util.errors import EXIT_INPUT_ERROR, run_command

REFUSED = [
    ("stream --frames 3", "--frames 3: two lengths are compared"),
    ("speed --net tiny", "speed: --net: not known; the flags are -h --help --network --height"),
    ("speed --height 8", "speed: argument --height: 8: at least 16 is needed"),
    ("speed --width wide", "speed: argument --width: invalid"),
    ("speed --height 16 --width 16 --objects 9", "9 objects do not fit a frame of 16×16"),
    ("components --plot made", "components: argument --plot: made: a folder"),
    ("training --json made", "training: argument --json: made: a folder"),
    ("training --json mask.png", "training: argument --json: mask.png: is there already"),
    ("training --json same --plot same", "training: --plot: not known"),
    ("clips --json same --plot same", "both name same"),
    ("clips --network tiny --frames 2 --height 32 --width 48", "no weights of intra-clip"),
    ("endurance --frames 120", "120 frames after 100 of warm-up: multiples of 50 and of 5"),
    ("endurance --warm_up_frames 12", "5000 frames after 12 of warm-up: multiples of 50 and of 5"),
    ("training --crop_size 20", "--crop_size: 20: a multiple of 16 is needed"),
    ("training_memory --crop_size 20", "--crop_size: 20: a multiple of 16 is needed"),
    ("training --workers -1", "--workers: -1: at least 0 is needed"),
    ("training --cache_megabytes -5", "--cache_megabytes: -5: at least 0 is needed"),
    ("training --network tiny_remn", "network tiny_remn: its redundancy reduction is trained by"),
    ("training_memory --network tiny_remn", "network tiny_remn: its redundancy reduction"),
    ("training_memory --batch 3 --gpus 2", "--batch 3 over 2 GPUs in 1 part"),
    ("fast", "argument COMMAND: invalid choice: 'fast'"),
    ("", "required: COMMAND"),
]


@pytest.mark.parametrize(("request_", "words"), REFUSED)
def test_wrong_request_ends_with_one_line_and_exit_code_2(
    tmp_path, request_, words, monkeypatch, capsys
):
    (tmp_path / "made").mkdir()
    (tmp_path / "mask.png").write_bytes(b"\x89PNG\0")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["benchmark.py", *request_.split()])
    # Of this process, which runs other tests afterwards.
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    with pytest.raises(SystemExit) as end:
        run_command(benchmark.main)
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()  # and no progress: it is refused before any work
    assert end.value.code == EXIT_INPUT_ERROR and captured.out == ""
    assert line.startswith("error: ") and words in line
    assert {path.name for path in tmp_path.iterdir()} == {"made", "mask.png"}
