"""The network that train.py's flags ask for: a preset, with what flags and --set change of it."""

import argparse
import dataclasses

from model.config import MOST_KEY_CHANNELS, NetworkConfig, preset, with_window
from model.network import SLOTS
from model.training.rollout import check_frames, check_slots
from model.training.stages import TrainingConfig
from util.errors import InputError
from util.settings import parse_settings, setting_names, with_setting

NETWORK_PREFIX = "network."  # of settings of the network, in --set
_WITH_CBAM = f"{NETWORK_PREFIX}fuser_attention"


def resolve_network(
    arguments: argparse.Namespace, config: TrainingConfig, start: NetworkConfig | None = None
) -> NetworkConfig:
    """The preset with the values that the flags change.

    start: the configuration stored with the weights that the training starts from. It decides what
    names and shapes do not show (similarity, windows) unless a flag does.
    Raises InputError if the network cannot be built or trained so.
    """
    given = {
        name: getattr(arguments, name)
        for name in ("similarity", "key_channels")
        if getattr(arguments, name) is not None
    }
    if start is not None:
        given.setdefault("similarity", start.similarity)
    if not 1 <= given.get("key_channels", 1) <= MOST_KEY_CHANNELS:
        raise InputError(
            f"key_channels is {arguments.key_channels}; "
            f"it must be at least 1 and at most {MOST_KEY_CHANNELS:,}"
        )
    base = _with_network_settings(preset(config.network), arguments, start)
    window = arguments.window
    if window is not None and base.refiner is None:
        raise InputError(
            f"--window: network {config.network} has no refinement; "
            "leave it out, or choose another --network"
        )
    if window is None and start is not None and start.refiner is not None:
        window = start.refiner.window
    network = with_window(dataclasses.replace(base, **given), window)
    _check_slot_rates(network, config)
    check_slots(network, config.clip_frames, config.reduce_frames)
    check_frames(config.frames, config.clip_frames, config.reduce_frames)
    return network


@dataclasses.dataclass(frozen=True)
class _NetworkSettings:
    """So that the network's settings have names that begin with `network.`."""

    network: NetworkConfig


def _with_network_settings(
    base: NetworkConfig, arguments: argparse.Namespace, start: NetworkConfig | None
) -> NetworkConfig:
    """The preset with what --set gives: network.SLOT.NAME=VALUE, network.fuser_attention=false.

    Those that names and shapes do not show are otherwise the ones that the weights in `start` have.
    """
    if base.reducer is not None and start is not None and start.reducer is not None:
        reducer = dataclasses.replace(base.reducer, floor=start.reducer.floor)
        base = dataclasses.replace(base, reducer=reducer)
    settings = _NetworkSettings(base)
    # the window of the refinement has a flag of its own
    changeable = (_WITH_CBAM, *(f"{NETWORK_PREFIX}{slot}." for slot in SLOTS))
    fixed = [name for name in setting_names(settings) if not name.startswith(changeable)]
    fixed += [f"{NETWORK_PREFIX}refiner.window"] if base.refiner is not None else []
    for name, value in parse_settings(arguments.set):
        if name.startswith(NETWORK_PREFIX):
            settings = with_setting(settings, name, value, fixed=fixed)
    settings.network.check()
    return settings.network


def _check_slot_rates(network: NetworkConfig, config: TrainingConfig) -> None:
    for slot, row in SLOTS.items():
        rate = getattr(config.slot_rates, slot)
        if rate != 1 and getattr(network, slot) is None:
            raise InputError(
                f"slot_rates.{slot} is {rate:g}, but network {network.name} has no {row.title}; "
                "leave it out, or choose another --network"
            )
