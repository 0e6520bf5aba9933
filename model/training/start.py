"""Starting a training from the weights of another one."""

from model.checkpoint import StoredNetwork, load_state
from model.config import PRESETS, NetworkConfig
from model.network import VOSNetwork


def load_start(network: VOSNetwork, start: StoredNetwork, path: str) -> list[str]:
    """Load the weights of a file into a network, to train on from them.

    Returns lines to print: which modules the file lacks, so that they are initialised from
    scratch, and in what its network differs. Raises InputError if the weights do not fit.
    """
    missing = load_state(network, start.state, path, train_on=True)
    lines = [
        f"has no weights of the network's {slot}, which is initialised from scratch"
        for slot in missing
    ]
    return [f"{path}: {line}" for line in lines + _differences(start.config, network.config)]


def _differences(start: NetworkConfig | None, network: NetworkConfig) -> list[str]:
    """In what the weights were trained differently from the preset, or from now on."""
    if start is None:
        return []
    ours, preset = network, PRESETS.get(network.name, network)
    parts = {"similarity": tuple(config.similarity for config in (start, ours, preset))}
    if start.refiner is not None and ours.refiner is not None and preset.refiner is not None:
        parts["windows of"] = tuple(
            "×".join(map(str, config.refiner.window)) for config in (start, ours, preset)
        )
    if start.reducer is not None and ours.reducer is not None and preset.reducer is not None:
        parts["γ"] = tuple(f"{config.reducer.floor:g}" for config in (start, ours, preset))
    return [
        f"was trained with {part} {theirs}; this training continues with {own}"
        for part, (theirs, own, usual) in parts.items()
        if theirs != own or own != usual
    ]
