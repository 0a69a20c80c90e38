"""What the methods cost: in all trainings, and for one image at inference."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmsr4ir.analysis.speed import (
    describe_machine,
    peak_memory,
    reset_peak_memory,
    summarise_laps,
    time_inference,
)
from mmsr4ir.engine.build import build_loader, build_model
from mmsr4ir.models.recipes import NETWORKS
from mmsr4ir.utils.files import write_json

from .methods import Part
from .runner import read_json

ITERATIONS, WARMUP = 20, 3


def total_training(part: Part) -> dict[str, Any]:
    """Add up what a method's networks had in all, with the runs that they come from.

    Returns:
        dict: ``updates`` and ``images``, by network ``sr`` and ``task``: the training
        images that it learnt from, each as often as it was seen; ``hours``, of
        iterations with their loading; ``teacher``, whether there was one.
    """
    records = [read_json(one.folder / 'trained.json') for one in (*part.sources, part)]
    sums = {
        what: {
            network: sum(record[what][network] for record in records)
            for network in NETWORKS
        }
        for what in ('updates', 'images')
    }
    return dict(
        **sums,
        hours=sum(record['seconds'] for record in records) / 3600,
        teacher='teacher' in part.needs,
    )


def inference_costs(parts: Sequence[Part], out: Path) -> dict[str, dict[str, Any]]:
    """Time one image with an SR network and without, if that is not done.

    Weights do not matter to the time, so one part with an SR network stands for all
    with one, and one without for the others.

    Args:
        parts: The parts that are tested.
        out: Folder of the comparison.

    Returns:
        dict: By method ``sr_ms`` and ``task_ms``, milliseconds an image (medians, in
        batches of one image), ``mib``, the peak memory, ``of`` whom that is, and
        ``machine``; or only ``reason``, why the time could not be taken.
    """
    found: dict[str, dict[str, Any]] = {}
    for restores in (False, True):
        group = [part for part in parts if part.info.restores == restores]
        if group:
            name = 'with_s' if restores else 'without_s'
            cost = time_part(group[0], out / 'inference' / f'{name}.json')
            found |= {part.method: dict(cost) for part in group}
    # The task network is the same in both; its time is the smaller one.
    times = [cost['task_ms'] for cost in found.values() if 'task_ms' in cost]
    for cost in found.values():
        if 'task_ms' in cost:
            cost['task_ms'] = min(times)
    return found


def time_part(part: Part, path: Path) -> dict[str, Any]:
    """Time one part's networks with random weights, and keep the numbers in a file."""
    networks = {name: part.cfg.model.get(name) for name in ('sr', 'task', 'sr_range')}
    machine = describe_machine()
    what = dict(networks=_without_files(networks), machine=machine['device_name'])
    key = Config(what).pretty_text
    cost = read_json(path)
    if cost.pop('key', None) == key:
        return cost
    cfg = copy.deepcopy(part.cfg)
    try:
        model = build_model(cfg).to(machine['device'])
        reset_peak_memory()
        laps = time_inference(model, build_loader(cfg, 'test', 1), ITERATIONS, WARMUP)
    except RuntimeError as error:  # out of memory, beside whatever else runs there
        return dict(reason=str(error).splitlines()[0])
    seconds, memory = summarise_laps(laps), peak_memory()
    cost = dict(
        sr_ms=1000 * seconds['SR network']['median'] if part.info.restores else 0.0,
        task_ms=1000 * seconds['task network']['median'],
        mib=memory['mib'],
        of=memory['of'],
        machine=machine['device_name'],
    )
    write_json(path, dict(cost, key=key))
    return cost


def _without_files(value):
    """Leave out where weights come from, which differs from part to part."""
    if isinstance(value, dict):
        return {k: _without_files(v) for k, v in value.items() if k != 'init_cfg'}
    return value
