"""Visualizers of MMEngine in a process that is not the first."""

import mmengine.dist.utils
import numpy as np
import torch
from mmengine.visualization import Visualizer

from mmsr4ir.compat.mmengine_visualizer import in_every_process


def test_a_visualizer_draws_in_the_other_processes_too(monkeypatch):
    monkeypatch.setattr(mmengine.dist.utils, 'is_main_process', lambda: False)
    image = np.zeros((20, 30, 3), np.uint8)
    box = torch.tensor([[5, 5, 20, 15]])
    plain, everywhere = Visualizer(), in_every_process(Visualizer)(name='mine')
    for visualizer in (plain, everywhere):
        visualizer.dataset_meta = dict(classes=('a',))
        visualizer.set_image(image)
        visualizer.draw_bboxes(box, edge_colors='r')
    assert plain.get_image() is None and plain.dataset_meta is None
    assert everywhere.dataset_meta == dict(classes=('a',))
    drawn = everywhere.get_image()
    assert drawn.shape == image.shape and drawn[..., 0].max() > 100
    features = everywhere.draw_featmap(torch.rand(3, 4, 4))
    assert features.shape == (4, 4, 3)
