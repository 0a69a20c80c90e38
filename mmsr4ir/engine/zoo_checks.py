"""Check what a config of a model zoo needs, before anything is built.

The libraries import some packages where they are first used, in the middle of a
training, and have models whose batches are not images with labels.
"""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from mmsr4ir.datasets.checks.pipelines import ALBUMENTATIONS
from mmsr4ir.utils.configs import type_name
from mmsr4ir.utils.errors import ConfigError

# Packages that parts of the libraries import when they are used.
_SKLEARN = ('sklearn', 'pip install scikit-learn')
_TIMM = ('timm', 'pip install timm')
_LVIS = ('lvis', 'pip install lvis')
_PANOPTIC = (
    'panopticapi',
    'pip install git+https://github.com/cocodataset/panopticapi.git',
)
#: Type in a config: the module that it imports, and the command that installs it.
PACKAGES = dict(
    Albu=ALBUMENTATIONS,
    Albumentations=ALBUMENTATIONS,
    InstaBoost=('instaboostfast', 'pip install instaboostfast'),
    LVISDataset=_LVIS,
    LVISV05Dataset=_LVIS,
    LVISV1Dataset=_LVIS,
    LVISMetric=_LVIS,
    LoadPanopticAnnotations=_PANOPTIC,
    CocoPanopticMetric=_PANOPTIC,
    LADHead=_SKLEARN,
    PAAHead=_SKLEARN,
    TIMMBackbone=_TIMM,
    TimmClassifier=_TIMM,
)
#: Preprocessor of a task network: what it makes of a batch, if not images with labels.
OTHER_BATCHES = {
    'MultiBranchDataPreprocessor': 'branches of images with and without labels',
    'MultiModalDataPreprocessor': 'images with text',
    'SelfSupDataPreprocessor': 'several views of an image',
    'TrackDataPreprocessor': 'videos',
    'TwoNormDataPreprocessor': 'several views of an image',
    'VideoDataPreprocessor': 'videos',
}


def check_zoo(cfg: Mapping) -> None:
    """Check a whole config; see :func:`check_packages` and :func:`check_batches`."""
    cfg = dict(cfg.items())  # MMEngine's Config is no Mapping
    check_batches(cfg)
    check_packages(cfg)


def check_packages(cfg: Mapping) -> None:
    """Check that the packages are there that parts of a config import.

    Args:
        cfg: The whole config.

    Raises:
        ConfigError: If one is missing; the message has the command that installs it.
    """
    for kind in _types(cfg):
        package, command = PACKAGES.get(kind, (None, ''))
        if package and not find_spec(package):
            raise ConfigError(
                f'{kind} needs the package {package}, which is not installed; '
                f'run: {command}'
            )


def check_batches(cfg: Mapping) -> None:
    """Check that the task network is trained on images with labels.

    Args:
        cfg: The whole config.

    Raises:
        ConfigError: If the batches of ``model.task`` are of another kind.
    """
    model = cfg.get('model') or {}
    task = model.get('task') or {}
    for owner in (task, model, cfg):
        kind = type_name(owner.get('data_preprocessor') or {})
        if kind in OTHER_BATCHES:
            inner = 'detector' if 'detector' in task else None
            hint = f' (set model.task to its {inner!r})' if inner else ''
            raise ConfigError(
                f'model.task {type_name(task)} is trained on {OTHER_BATCHES[kind]} '
                f'({kind}); supported are networks that are trained on images with '
                f'labels, one image to a sample{hint}'
            )


def _types(node: object) -> Iterator[str]:
    """Yield the name of every ``type`` in a config."""
    if isinstance(node, Mapping):
        if 'type' in node:
            yield type_name(node)
        for value in node.values():
            yield from _types(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _types(value)
