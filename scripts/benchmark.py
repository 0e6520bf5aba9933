"""Measure speed and memory. `speed`, `reading`, `components` and `memory` compare with a reference
that computes as the published STCN code does, with the same weights and results.

python scripts/benchmark.py speed             seconds per frame of whole videos, 1 and 3 objects
python scripts/benchmark.py reading           one memory read with 100 frames in memory
python scripts/benchmark.py components        key encoding, value encoding, reading, decoding
                                              (--plot FILE.png; --beside stm: also STM's design)
python scripts/benchmark.py clips             frames per second and component times of a clip
                                              system by clip length (--plot FILE.png)
python scripts/benchmark.py memory            peak memory over 500 frames
python scripts/benchmark.py stream            peak memory over 200 and 2,000 frames with a bounded
                                              memory
python scripts/benchmark.py endurance         time per frame and memory at the start and the end of
                                              a long video, for several memory policies
python scripts/benchmark.py policies          LFU with 2 frames compared with first-and-latest and
                                              a full every-5 memory, measured and predicted
python scripts/benchmark.py long ROOT         real videos once, and played back and forth to three
                                              times their length (--play repeat: repeated from
                                              start to end): accuracy, speed and memory of stcn,
                                              lfu and remn
python scripts/benchmark.py training          training steps per second, time spent waiting for
                                              data, peak memory
python scripts/benchmark.py training_memory   peak memory of a training step (--recipes: settings
                                              that fit common cards)

All commands but `long` use synthetic videos and random weights, the same in every run. `long` uses
the shipped weights or yours. Leave the machine idle while a benchmark runs.
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

_COMMANDS = (
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
)


def main() -> int:
    """Parse the flags and run the command. Returns the exit code."""
    parser = FlagParser(
        prog="benchmark.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", parser_class=FlagParser
    )
    for module in _COMMANDS:
        module.add(commands)
    flags = parser.parse_args()
    return flags.do(flags)


if __name__ == "__main__":
    run_command(main)
