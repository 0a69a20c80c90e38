"""The check of data, as a run makes it and as a list."""

from mmengine.config import Config

from mmsr4ir.datasets.checks.images import Scanner
from mmsr4ir.datasets.checks.problem import Problem, stop_on_errors
from mmsr4ir.datasets.checks.reports import reports


def check(cfg, splits=('train', 'val'), whole=False) -> list[Problem]:
    """What is found in all data of a config, split by split."""
    found = reports(cfg, splits, Scanner(whole))
    return [one for report in found for one in report.problems]


def check_data(cfg, splits=('train', 'val')) -> None:
    """Raise the first errors."""
    stop_on_errors(check(cfg, splits))


def found(cfg, splits=('train',), whole=False) -> list[tuple[str, str]]:
    """Severities and texts, without notes."""
    return [
        (one.severity, str(one))
        for one in check(cfg, splits, whole)
        if one.severity != 'note'
    ]


def coco_config(root, classes=('green', 'blue'), num_classes=2, **dataset) -> Config:
    dataset = dict(
        type='CocoDataset',
        data_root=str(root),
        ann_file='train.json',
        data_prefix=dict(img='train/'),
        metainfo=dict(classes=classes),
        **dataset,
    )
    return Config(
        dict(
            default_scope='mmdet',
            val_dataloader=None,
            train_dataloader=dict(dataset=dataset),
            model=dict(
                task=dict(
                    rpn_head=dict(num_classes=1),
                    roi_head=dict(bbox_head=[dict(num_classes=num_classes)]),
                )
            ),
        )
    )
