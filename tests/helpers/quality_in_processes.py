"""Measure five images in two processes, through the dataloader of a validation.

usage: quality_in_processes.py OUT.json; started by a test
"""

import json
import sys

import numpy as np
import torch
import torch.distributed as dist
from mmengine.dataset import DefaultSampler
from mmengine.evaluator import Evaluator
from torch.multiprocessing import start_processes
from torch.utils.data import DataLoader

from mmsr4ir.evaluation import SRQuality

SIZES = ((40, 48), (32, 32), (50, 36), (33, 47), (64, 40))


def images(index: int) -> dict[str, torch.Tensor]:
    """HR noise, and SR that is the worse the higher the index."""
    rng = np.random.default_rng(index)
    hr = rng.integers(60, 200, (3, *SIZES[index]))
    sr = hr + rng.integers(-5 - 10 * index, 6 + 10 * index, hr.shape)
    return {
        key: torch.from_numpy(image.astype(np.uint8))
        for key, image in (('hr', hr), ('sr', sr.clip(0, 255)))
    }


def measure(rank: int, out: str) -> None:
    dist.init_process_group('gloo', f'file://{out}.group', rank=rank, world_size=2)
    dataset = [dict(images=images(index)) for index in range(len(SIZES))]
    metrics = []
    for round_up in (True, False):  # whether the processes get equally many images
        evaluator = Evaluator([SRQuality(crop_border=2)])
        sampler = DefaultSampler(dataset, shuffle=False, round_up=round_up)
        for batch in DataLoader(
            dataset, batch_size=2, sampler=sampler, collate_fn=list
        ):
            evaluator.process(batch)
        metrics.append(evaluator.evaluate(len(dataset)))
    if rank == 0:
        with open(out, 'w', encoding='utf-8') as file:
            json.dump(metrics, file)
    dist.destroy_process_group()


if __name__ == '__main__':
    start_processes(measure, sys.argv[1:], nprocs=2, start_method='fork')
