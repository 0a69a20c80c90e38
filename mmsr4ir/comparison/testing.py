"""The config with which a part is tested: what the report needs beside the metric."""

import copy
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from mmsr4ir.utils.configs import as_list
from mmsr4ir.utils.files import load_json

from .methods import TDP, Part

# The panels of a test's pictures, of which the picture grids are stacked.
PANELS = ('sr', 'prediction', 'truth')


def record_file(part: Part) -> Path:
    """Return where the test of a part keeps what it found in each image."""
    return part.folder / 'images.json'


def load_record(part: Part) -> dict | None:
    """Return what the test of a part found in each image; None if it kept nothing."""
    path = record_file(part)
    return load_json(path) if path.exists() else None


def make_test_config(part: Part, images: int) -> Config:
    """Add what the report needs to a part's config.

    Args:
        part: The part; of its judge, the run of H→T, the training has ended.
        images: Number of test images that are drawn.

    Returns:
        Config: The test keeps what it found in each image, draws some, and measures the
        distance to HR for the judge, where there is one.
    """
    cfg = copy.deepcopy(part.cfg)
    evaluators = as_list(cfg.get('test_evaluator'))
    record = dict(type='mmsr4ir.ImageRecord', out_file=str(record_file(part)))
    for one in evaluators:  # it counts as the metric of the task does
        record |= {key: one[key] for key in ('ann_file', 'ignore_index') if key in one}
    more: list[dict[str, Any]] = [record]
    if part.judge:
        more.append(
            dict(
                type='mmsr4ir.TeacherDistance',
                model=judge_model(part.judge),
                checkpoint=str(part.judge.checkpoint),
            )
        )
    cfg.test_evaluator = [*evaluators, *more]
    cfg.default_hooks.picture_grid.update(panels=PANELS, max_images=images)
    return cfg


def judge_model(judge: Part) -> ConfigDict:
    """Return the model of the run of H→T, with the features that are compared."""
    model = copy.deepcopy(judge.cfg.model)
    if judge.cfg.get('data_preprocessor') is not None:
        model.setdefault('data_preprocessor', judge.cfg.data_preprocessor)
    model.setdefault('tdp', ConfigDict(TDP))
    model.pop('task_resize', None)  # it looks at images in their own size
    return model
