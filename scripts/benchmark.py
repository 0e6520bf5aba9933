"""Speed and memory beside a reference that computes as the published STCN code does, with the same weights and results.

python scripts/benchmark.py speed             seconds a frame of whole videos, 1 and 3 objects
python scripts/benchmark.py reading           one frame's reading from 100 memory frames
python scripts/benchmark.py components        key encoding, value encoding, reading, decoding (--plot FILE.png)
python scripts/benchmark.py clips             frames a second of a clip system by the length of its clips, and where the time goes (--plot FILE.png)
python scripts/benchmark.py memory            peak memory over 500 frames
python scripts/benchmark.py stream            peak memory of 200 and of 2,000 frames with a bounded memory
python scripts/benchmark.py endurance         time a frame and memory at the end of a long video beside its start, several policies by turns
python scripts/benchmark.py policies          LFU with 2 frames beside first-and-latest and a grown every-5, and what the components' times predict
python scripts/benchmark.py long ROOT         real videos once, and played back and forth to three times their length: accuracy, speed, memory of stcn, lfu, remn
python scripts/benchmark.py training          steps a second of training, and the share of time spent waiting for data
python scripts/benchmark.py training_memory   peak memory of a training step (--recipes: what fits which cards)

Needs neither data nor weights, but for `long` (the shipped ones, or yours): both are made up, the same in every run. Leave the machine idle meanwhile.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse

from scripts.benchmarks import (
    clips,
    components,
    endurance,
    peak_memory,
    policies,
    reading,
    speed,
    training_memory,
    training_speed,
)
from scripts.studies import long_videos
from util.errors import run_command
from util.flags import FlagParser


def _parser() -> argparse.ArgumentParser:
    parser = FlagParser(
        prog="benchmark.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=FlagParser
    )
    for each in (
        speed,
        components,
        reading,
        clips,
        peak_memory,
        endurance,
        policies,
        long_videos,
        training_speed,
        training_memory,
    ):
        each.add(commands)
    return parser


def main() -> int:
    """Flags, then what the command does; the exit code."""
    flags = _parser().parse_args()
    return flags.do(flags)


if __name__ == "__main__":
    run_command(main)
