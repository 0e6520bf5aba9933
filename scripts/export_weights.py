"""Write a checkpoint's network alone, as a flat name → tensor file in the public naming.

python scripts/export_weights.py runs/NAME/checkpoints/008000.pth weights.pth [--half]
"""

if not __package__:  # started by path, not as a module of the project
    import _packages  # noqa: F401

from model import load_network, parameter_count, save_weights
from util.errors import run_command
from util.flags import FlagParser


def main() -> None:
    """Export the weights that the flags name."""
    parser = FlagParser(prog="export_weights.py", description=__doc__.splitlines()[0])
    parser.add_argument(
        "checkpoint",
        help="weights, a training checkpoint (its averaged weights, if it has them), "
        "or a public checkpoint",
    )
    parser.add_argument("output")
    parser.add_argument("--network", help="its preset, if names and shapes do not identify it")
    parser.add_argument(
        "--half", action="store_true", help="16-bit floats: half the size, for shipping"
    )
    arguments = parser.parse_args()
    network = load_network(arguments.checkpoint, arguments.network)
    save_weights(arguments.output, network, half=arguments.half)
    millions = parameter_count(network) / 1e6
    print(f"{arguments.output}: network {network.config.name}, {millions:.2f} million parameters")


if __name__ == "__main__":
    run_command(main)
