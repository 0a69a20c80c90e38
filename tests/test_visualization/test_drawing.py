"""Pictures, their frames and files, and what is drawn into them."""

import cv2
import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData
from mmengine.visualization import Visualizer

from mmsr4ir.visualization.drawing import Annotator, enlarge, row, write_png, zoom_to


def test_drawing(tmp_path):
    small = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    assert np.array_equal(enlarge(small, 2)[2:, 2:], np.tile(small[1, 1], (2, 2, 1)))
    assert zoom_to((100, 300), 256) == 3
    assert zoom_to((1000, 300), 100) == 1
    one, two = np.zeros((40, 30, 3), np.uint8), np.zeros((50, 60, 3), np.uint8)
    assert row([('a', one), ('b', two)]).shape == (50 + 22 + 2, 30 + 60 + 4, 3)
    assert row([('a', one)], 'title').shape == (40 + 2 * 22 + 2, 32, 3)
    write_png(tmp_path / 'deep' / 'x.png', small)
    assert np.array_equal(
        cv2.imread(str(tmp_path / 'deep' / 'x.png'))[..., ::-1], small
    )
    assert [path.name for path in (tmp_path / 'deep').iterdir()] == ['x.png']


def test_labels_that_are_floats_are_drawn_as_whole_numbers():
    """CrowdDet predicts such labels, and mmdet looks colours up by them."""

    class Boxes(Visualizer):
        def add_datasample(self, name, image, data_sample, draw_gt, draw_pred):
            palette = [11, 22, 33]
            labels = data_sample.pred_instances.labels.tolist()
            self.set_image(image + np.uint8(sum(palette[label] for label in labels)))

    sample = BaseDataElement()
    sample.pred_instances = InstanceData(labels=torch.tensor([0.0, 2.0]))
    drawn = Annotator(Boxes()).draw(np.zeros((4, 4, 3), np.uint8), sample, truth=False)
    assert (drawn == 44).all()
    assert sample.pred_instances.labels.is_floating_point()  # others get it as it is
