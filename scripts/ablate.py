"""Reproduce the papers' ablation tables on any data with truth and with any weights.

python scripts/ablate.py stcn ROOT --table 1|2|7 [--weights ROLE=FILE …]
python scripts/ablate.py pcvos ROOT --table 7|2|8|9|10 [--weights ROLE=FILE …]
python scripts/ablate.py lfu ROOT --table regularisers|capacity [--weights ROLE=FILE …]
python scripts/ablate.py stcn|pcvos|lfu ROOT --list         the variants of all tables
python scripts/ablate.py remn ROOT [--weights remn=FILE …]

Each table is written as Markdown and JSON, with a plot of accuracy against speed. Variants without
weights are left out and reported. Each variant runs through the eval program, into OUT/runs: an
interrupted study resumes, and tables with the same OUT share their runs.
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

import argparse
from collections.abc import Callable, Iterable

from scripts.studies import lfu, pcvos, pcvos_roles, remn, stcn
from scripts.studies.study import add_study_flags, run_study
from scripts.studies.variants import Study
from util.errors import EXIT_OK, InputError, run_command
from util.flags import Commands, FlagParser, at_least


def run_stcn(flags: argparse.Namespace) -> int:
    """STCN: the previous frame in memory, similarity and key channels, training data."""
    weights = stcn.weights_of(flags.weights)
    return _run_tables(stcn.TABLES, lambda table: stcn.study(table, weights), flags)


def run_pcvos(flags: argparse.Namespace) -> int:
    """PCVOS: progressive matching, per-clip training, intra-clip refinement."""
    weights = pcvos_roles.weights_of(flags.weights)

    def study(table: str) -> Study:
        return pcvos.study(table, weights, flags.clip_lengths, flags.segment_frames)

    return _run_tables(pcvos.TABLES, study, flags)


def _run_tables(
    tables: Iterable[str], study: Callable[[str], Study], flags: argparse.Namespace
) -> int:
    """Run the table that the flags name, or list all of them."""
    if flags.table is not None:
        return run_study(study(flags.table), flags)
    if not flags.list or flags.rows:
        names = ", ".join(tables)
        raise InputError(f"--table: give one of {names}; --list without it shows all tables")
    for table in tables:
        print(f"--table {table}")
        run_study(study(table), flags)
    return EXIT_OK


def run_remn(flags: argparse.Namespace) -> int:
    """REMN: foreground reinforcing, adaptive sampling, redundancy reduction."""
    return run_study(remn.study(remn.weights_of(flags.weights)), flags)


def run_lfu(flags: argparse.Namespace) -> int:
    """Adaptive memory: regularisers of the affinity (Tables 5 and 6); capacities (Figure 11)."""
    weights = lfu.weights_of(flags.weights)

    def study(table: str) -> Study:
        return lfu.study(table, weights, flags.memory_frames)

    return _run_tables(lfu.TABLES, study, flags)


def _add_stcn(papers: Commands) -> None:
    trainings = "; ".join(f"{role}: {stages}" for role, stages in stcn.TRAININGS.items())
    parser = papers.add_parser(
        "stcn",
        help=run_stcn.__doc__,
        description=f"{run_stcn.__doc__} Roles of weights: stcn, for table 1; "
        "SIMILARITY-CHANNELS, such as l2-64, dot-128 or cosine-64, for table 2; for table 7 "
        f"{trainings}.",
    )
    parser.set_defaults(run=run_stcn)
    add_study_flags(parser, "results/ablate-stcn")
    _add_table(parser, stcn.TABLES)


def _add_table(parser: argparse.ArgumentParser, tables: Iterable[str]) -> None:
    parser.add_argument(
        "--table", choices=tuple(tables), help="of the paper; required except with --list"
    )


def _add_pcvos(papers: Commands) -> None:
    roles = "; ".join(f"{role}: {meaning}" for role, meaning in pcvos_roles.ROLES.items())
    parser = papers.add_parser(
        "pcvos",
        help=run_pcvos.__doc__,
        description=f"{run_pcvos.__doc__} Roles of weights: {roles}; "
        "pcvos@TxHxW: with windows of that size.",
    )
    parser.set_defaults(run=run_pcvos)
    add_study_flags(parser, "results/ablate-pcvos")
    _add_table(parser, pcvos.TABLES)
    parser.add_argument(
        "--clip_lengths",
        type=at_least(1),
        nargs="+",
        metavar="L",
        help="default: 5 10 15 25; table 10: 10 15 25",
    )
    parser.add_argument(
        "--segment_frames",
        type=at_least(1),
        nargs="+",
        metavar="F",
        help="frames of a segment of progressive matching (default: 5; table 10: 1 3 5 10)",
    )


def _add_remn(papers: Commands) -> None:
    parser = papers.add_parser(
        "remn",
        help=run_remn.__doc__,
        description=f"{run_remn.__doc__} Roles of weights: remn, for all rows; FRM+ASM and other "
        "subsets, each for its row alone.",
    )
    parser.set_defaults(run=run_remn)
    add_study_flags(parser, "results/ablate-remn")


def _add_lfu(papers: Commands) -> None:
    roles = "; ".join(f"{role}: train.py {' '.join(lfu.recipe(role))}" for role in lfu.ROLES)
    parser = papers.add_parser(
        "lfu", help=run_lfu.__doc__, description=f"{run_lfu.__doc__} Roles of weights: {roles}."
    )
    parser.set_defaults(run=run_lfu)
    add_study_flags(parser, "results/ablate-lfu")
    _add_table(parser, lfu.TABLES)
    parser.add_argument(
        "--memory_frames",
        type=at_least(1),
        nargs="+",
        metavar="N",
        help="capacities of LFU in frames (default: 2; capacity: 1 2 4 8)",
    )


def main() -> int:
    """Run the study that the flags name. Returns the exit code."""
    parser = FlagParser(
        prog="ablate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    papers = parser.add_subparsers(dest="paper", required=True, metavar="PAPER")
    _add_stcn(papers)
    _add_pcvos(papers)
    _add_remn(papers)
    _add_lfu(papers)
    flags = parser.parse_args()
    return flags.run(flags)


if __name__ == "__main__":
    run_command(main)
