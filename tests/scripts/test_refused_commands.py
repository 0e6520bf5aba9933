"""Wrong requests to scripts: a request, and the words of the line that refuses it."""

import pytest
from toy_trees import write_davis, write_generic

from scripts import (
    ablate,
    analyse,
    benchmark,
    compare,
    convert_masks,
    interactive,
    make_composites,
    reproduce,
)
from util.errors import EXIT_INPUT_ERROR, run_command

BENCHMARK = [
    ("stream --frames 3", "--frames 3: two lengths are compared"),
    ("speed --net tiny", "speed: --net: not known; the flags are -h --help --network --height"),
    ("speed --height 8", "speed: argument --height: 8: at least 16 is needed"),
    ("speed --width wide", "speed: argument --width: invalid"),
    ("speed --height 16 --width 16 --objects 9", "9 objects do not fit a frame of 16×16"),
    ("reading --kernel_sigma 0", "--kernel_sigma is 0.0; it must be at least 0.1"),
    ("components --beside stcn", "components: argument --beside: invalid choice: 'stcn'"),
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
ABLATE = [
    ("pcvos davis", "--table: give one of 7, 2, 8, 9, 10"),
    ("pcvos davis --list --rows stcn-*", "--table: give one of 7, 2, 8, 9, 10"),
    ("pcvos davis --table 3", "argument --table: invalid choice: '3'"),
    ("pcvos davis --table 7 --clip_lengths 0", "--clip_lengths: 0: at least 1 is needed"),
    ("pcvos davis --table 10 --segment_frames -1", "--segment_frames: -1: at least 1 is needed"),
    ("pcvos davis --table 7 --segment_frames 3 5", "--segment_frames 3 5: only table 10"),
    ("pcvos davis --table 7 --rows huge", "--rows huge: matches no variant; there are stcn_clip-"),
    ("pcvos davis --table 7 --rows stcn-*", "no variant can be run: stcn (frame by frame, 3"),
    ("pcvos davis --table 7 --output mask.png", "--output mask.png: a file; a folder is needed"),
    ("pcvos davis --table 7 --output mask.png/study", "mask.png is a file; a folder is needed"),
    ("pcvos made --table 7", "no JPEGImages/480p or JPEGImages here"),
    ("pcvos generic --table 7", "a study needs the truth of every frame"),
    ("pcvos short --table 7", "dog: 2 frames; a study needs 3 of each video"),
    ("stcn davis", "--table: give one of 1, 2, 7"),
    ("stcn davis --table 3", "argument --table: invalid choice: '3'"),
    ("stcn davis --table 2 --rows stcn-dot-64", "no variant can be run: dot with 64 key channels"),
    ("stcn davis --table 2 --weights l1-64=a.pth", "no role 'l1-64'; the roles are stcn, s0"),
    ("remn davis --weights best=a.pth", "--weights best=a.pth: no role 'best'; the roles are remn"),
    ("remn davis --weights remn", "--weights remn: ROLE=FILE is needed"),
    ("lfu davis", "--table: give one of regularisers, capacity"),
    ("lfu davis --table capacity --memory_frames 0", "--memory_frames: 0: at least 1 is needed"),
    ("lfu davis --table regularisers --weights drop=a.pth", "no role 'drop'; the roles are stcn"),
]
COMPARE = [
    ("davis --memory_frames 0", "--memory_frames: 0: at least 1 is needed"),
    ("davis --times 2 --frames 9", "--frames: not allowed with argument --times"),
]
ANALYSE = [
    ("affinity --sequences unicorn", "no sequence 'unicorn'"),
    ("affinity --model nameless.pth", "--model nameless.pth: NAME=VALUE is expected"),
    ("affinity --model a=b.pth a=c.pth", "--model a=c.pth: a is given twice"),
    ("affinity --similarity other=dot", "no --model of this name; there are: shipped"),
    ("affinity --model a=b.pth --similarity a=x", "choose one of l2, dot, cosine"),
    ("affinity --model a=nowhere.pth", "nowhere.pth"),
    ("affinity --mem_every 0", "--mem_every: 0: at least 1 is needed"),
    ("affinity --resolution 0", "resolution is 0"),
    ("correspondence --resolution -7", "resolution is -7"),
    ("correspondence --resolution 5", "resolution is 5"),
    ("correspondence --points 1,1", "--points: of one video; name it with --sequences"),
    ("correspondence --sequences bear --points here", "x,y in pixels is expected"),
    ("correspondence --sequences bear --points 64,3", "point 64,3: outside the frame of 64x48"),
    ("correspondence --frame 9", "bear: has no frame 9 after its first mask"),
    ("correspondence --frame 8", "bear: no frame after 00008"),
    ("correspondence --output mask.png", "mask.png: a file; a folder is needed"),
    ("memory --resolution 0", "at least 16, or -1"),
    ("memory --memory every-k", "memory every-k counts no uses"),
    ("memory --memory_frames 0", "--memory_frames: 0: at least 1 is needed"),
    ("memory --memory lru", "lfu"),
    ("memory --colour red", "--colour: not known; the flags are"),
    ("sampling --sequences bear --system pcvos", "its memory is written once per clip"),
    ("sampling --set memory.min_gap_frames", "KEY=VALUE is needed"),
    ("sampling --set memory.sampling_measure=area", "memory.sampling_measure"),
    ("sampling --sampling every --set memory.max_gap_frames=9", "give sampling adaptive"),
    ("memory --data_path generic --capacities 2", "validation needs the truth of every frame"),
]
REPRODUCE = [
    ("", "one of the arguments --what --list is required"),
    ("--what best", "argument --what: invalid choice: 'best'"),
    ("--what shipped", "--davis_path: --what shipped needs DAVIS"),
    ("--what shipped --davis_path nowhere", "--davis_path nowhere: no such folder"),
    (
        "--what shipped --davis_path davis --rows best",
        "--rows best: matches no row; there are stcn",
    ),
    ("--what authors --davis_path davis", "stcn.pth: no such file; it is published at https://"),
]
COMPOSITES = [
    ("davis made", "made: exists; name a new folder"),
    ("davis davis/JPEGImages/480p/out", "is inside"),
    ("davis out --frames 19", "--frames: 19: at least 20 is needed"),
    ("davis out --kind triplets", "invalid choice: 'triplets'"),
    ("davis out --sequences unicorn", "no sequence 'unicorn'"),
    ("davis out --sequences bear", "1 sequence given; composites need at least two"),
    ("davis out", "bear camel: none shows its whole object"),
    ("generic out", "00001.png: no such mask; composites need the truth of every frame"),
]
INTERACTIVE = [
    (
        "davis --choose keys",
        "--choose keys: projects suggest frames, and --methods forward has none",
    ),
    ("davis --rounds 0", "--rounds: 0: at least 1 is needed"),
    ("davis --input clicks", "argument --input: invalid choice: 'clicks'"),
    ("davis --methods", "argument --methods: expected at least one argument"),
    ("davis --choose best", "argument --choose: invalid choice: 'best'"),
    ("davis --max_frames 1", "--max_frames: 1: at least 2 is needed"),
    ("davis --sequences unicorn", "unicorn: no such folder"),
    ("davis --resolution 5", "resolution is 5"),
    ("davis --model nowhere.pth", "nowhere.pth"),
    ("davis --output mask.png", "--output mask.png: a file; a folder is needed"),
    ("generic", "5 frames without a mask, of 6; the truth of every frame is needed"),
    ("made", "no JPEGImages/480p or JPEGImages here"),
]
MASKS = "generic/Annotations"
CONVERT = [
    (f"{MASKS} out", "required: --to"),
    (f"{MASKS} out --to matte", "--to: invalid choice: 'matte'"),
    (f"{MASKS} out --to png --from csv", "--from: invalid choice: 'csv'"),
    (f"{MASKS} made --to png", "made: is there already"),
    (f"{MASKS} out --to coco", "out: --to coco writes a file named OUT.json"),
    (f"{MASKS} out.json --to davis", "out.json: --to davis writes a folder"),
    (f"{MASKS} out --to cutout-webm", "--to cutout-webm needs the frames; add --frames"),
    (f"{MASKS} out --to png --frames nowhere", "nowhere: no such frames"),
    (f"{MASKS} out --to png --frames davis", "davis: no frames of clip"),
    (f"{MASKS} out --to png --from coco", "not a .json file"),
    (f"{MASKS} out --to png --from cvat", "not CVAT's XML"),
    (f"{MASKS} out --to png --from cvat-json", "not CVAT's JSON"),
    (f"{MASKS} out --to png --from labelme", "not LabelMe's JSON"),
    (f"{MASKS} out --to png --objects 9", "clip: none of the objects asked for; it has 1"),
    (f"{MASKS} out --to png --palette made", "made"),
    ("nowhere out --to png", "nowhere: no such file or folder"),
    ("mask.png out --to png", "mask.png"),
    ("made out --to png", "made: of no format that is read"),
    ("made out --to png --from png", "made: holds no masks"),
]
REFUSED = [
    *((benchmark, *row) for row in BENCHMARK),
    *((ablate, *row) for row in ABLATE),
    *((compare, *row) for row in COMPARE),
    *((analyse, *row) for row in ANALYSE),
    *((reproduce, *row) for row in REPRODUCE),
    *((make_composites, *row) for row in COMPOSITES),
    *((interactive, *row) for row in INTERACTIVE),
    *((convert_masks, *row) for row in CONVERT),
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder of toy data sets: davis; short, with too few frames; generic, with few masks."""
    root = tmp_path_factory.mktemp("data")
    write_davis(root / "davis", {"bear": 9, "camel": 7})
    write_davis(root / "short", {"bear": 4, "dog": 2})
    write_generic(root / "generic", "clip", {0: (1,)})
    return root


@pytest.mark.parametrize(("program", "request_", "words"), REFUSED)
def test_wrong_request_ends_with_one_line_exit_code_2_and_no_output(
    data, tmp_path, program, request_, words, monkeypatch, capsys
):
    (tmp_path / "made").mkdir()
    mask = b"\x89PNG\0"
    (tmp_path / "mask.png").write_bytes(mask)
    for path in data.iterdir():
        (tmp_path / path.name).symlink_to(path)
    before = {path.name for path in tmp_path.iterdir()}
    arguments = request_.split()
    if program is analyse:  # a request may repeat these flags
        arguments[1:1] = ["--data_path", "davis", "--output", "out", "--device", "cpu"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [f"{program.__name__.rpartition('.')[2]}.py", *arguments])
    # Of this process, which runs other tests afterwards.
    monkeypatch.setattr("torch.set_num_threads", lambda count: None)
    with pytest.raises(SystemExit) as end:
        run_command(program.main)
    captured = capsys.readouterr()
    (line,) = captured.err.splitlines()  # and no progress: it is refused before any work
    assert end.value.code == EXIT_INPUT_ERROR and captured.out == ""
    assert line.startswith("error: ") and words in line
    assert {path.name for path in tmp_path.iterdir()} == before
    assert (tmp_path / "mask.png").read_bytes() == mask
