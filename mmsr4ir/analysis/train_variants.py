"""Train the same networks in several ways, in turns: what each costs and changes."""

import copy
import gc
import itertools
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from mmsr4ir.engine.build import build_loader, build_model
from mmsr4ir.models.recipes import NETWORKS, parse_recipe
from mmsr4ir.utils.configs import CONFIGS, merge_options
from mmsr4ir.utils.errors import ConfigError

from .speed import Laps, endless, peak_memory, reset_peak_memory
from .train_speed import Steps


def recipe_settings(name: str) -> dict:
    """Return a recipe that is shipped as settings of a config, with a teacher if asked.

    Weights are random where times are taken, so the teacher needs no file.
    """
    recipe = Config.fromfile(CONFIGS / '_base_' / 'recipes' / f'{name}.py').recipe
    settings: dict = {'model.recipe': dict(recipe, _delete_=True)}
    terms = [term for phase in parse_recipe(recipe) for term in phase.losses]
    if any(term.needs_teacher for term in terms):
        init_cfg = dict(type='Pretrained', checkpoint='-')
        settings['model.teacher'] = dict(init_cfg=init_cfg)
    return settings


#: Ways to train by name, as settings of a config.
VARIANTS: dict[str, dict] = {
    'plain': {},
    'channels_last': {'model.channels_last': True},
    'reuse_sr': {'model.recipe.task.reuse_sr': True},
    'one_pass': {
        'model.recipe.task.losses': {'_delete_': True, 'task_sr+hr+mix': 1.02}
    },
    **{
        dtype: {
            f'optim_wrapper.{network}': dict(
                type='mmsr4ir.AmpOptimWrapper', dtype=dtype
            )
            for network in NETWORKS
        }
        for dtype in ('bfloat16', 'float16')
    },
    'compile': {
        'default_hooks.compile': dict(
            type='mmsr4ir.CompileHook', modules=['sr', 'task.backbone']
        )
    },
    'checkpointing': {
        'default_hooks.activation_checkpoint': dict(
            type='mmsr4ir.ActivationCheckpointHook', modules=['sr.body']
        )
    },  # EDSR's
    'sparse_roi_align': {
        'default_hooks.sparse_roi_align': dict(type='mmsr4ir.SparseRoIAlignHook')
    },
    'fused': {f'optim_wrapper.{network}.optimizer.fused': True for network in NETWORKS},
    'accumulate_2': {
        f'optim_wrapper.{network}.accumulative_counts': 2 for network in NETWORKS
    },
    **{
        name: recipe_settings(name)
        for name in ('s2t', 's2t_kd', 't2s', 'frozen_t', 's_and_t', 'hlf_fm')
    },
    'ema': {'default_hooks.ema': dict(type='EMAHook')},
}


def variant_config(cfg: Config, name: str, options: Mapping) -> Config:
    """Return a copy of a config with the settings of a variant.

    Raises:
        ConfigError: If nothing reads a setting, or if it fits nowhere.
    """
    cfg = copy.deepcopy(cfg)
    merge_options(cfg, options, f'--variant {name}')
    return cfg


def time_variants(
    cfg: Config,
    variants: Mapping[str, Mapping],
    iterations: int,
    checked: int,
    stage: str = 'main',
) -> tuple[Laps, dict[str, dict[str, list[float]]]]:
    """Train in several ways from the same weights, on the same batches, in turns.

    The first iterations train with the learning rates of the config; their losses are
    compared, and their times are not counted. Then the learning rates are 0, so that
    the work stays the same. Each way's random numbers are seeded alike.

    Args:
        cfg: The whole config.
        variants: Settings of each by name; ``plain`` is one.
        iterations: Timed ones.
        checked: Iterations before them.
        stage: Stage of the recipe, ``'warmup'`` or ``'main'``.

    Returns:
        tuple: Seconds an iteration without waiting for data, and for each other way
        the relative difference of each loss that ``plain`` has too, in each iteration
        that is compared. Weights are the same only in the first of them.

    Raises:
        ConfigError: If nothing reads a setting of a variant, or if the variant cannot
            be built.
    """
    batches = endless(build_loader(cfg, 'train'))
    laps = Laps(checked)
    differences: dict[str, dict[str, list[float]]] = {
        name: {} for name in variants if name != 'plain'
    }
    with tempfile.TemporaryDirectory(prefix='mmsr4ir_') as root:
        steps = {}
        for name, options in variants.items():
            folder = Path(tempfile.mkdtemp(prefix=f'{name}_', dir=root))
            own = variant_config(cfg, name, options)
            try:
                steps[name] = Steps(own, folder, stage)
            except ValueError as error:
                raise ConfigError(f'{name}: {error}') from error
        weights = steps['plain'].model.state_dict()
        for other in steps.values():
            other.model.load_state_dict(weights, strict=False)  # less the teacher's
        for number, data in enumerate(itertools.islice(batches, checked + iterations)):
            _iterate(steps, data, number, laps, hold=number >= checked)
            if number < checked:
                _compare(
                    {name: one.outputs for name, one in steps.items()}, differences
                )
    return laps, differences


def _iterate(
    steps: dict[str, Steps], data: dict, number: int, laps: Laps, hold: bool
) -> None:
    """Do one iteration of each, beginning with another one each time."""
    first = number % len(steps)
    for name in [*steps][first:] + [*steps][:first]:
        own = copy.deepcopy(data)
        if hold:
            steps[name].hold()
        laps.start()
        steps[name].iterate(own)
        laps.lap(name)
    laps.finish(len(data['inputs']))


def _compare(
    outputs: dict[str, dict], differences: dict[str, dict[str, list[float]]]
) -> None:
    """Add the relative difference of each loss."""
    plain = {
        key: value.double()
        for key, value in outputs.pop('plain').items()
        if 'loss' in key
    }
    for name, logs in outputs.items():
        for key in plain.keys() & logs.keys():
            want = plain[key]
            off = (logs[key].double() - want).abs() / want.abs().clamp(min=1e-12)
            differences[name].setdefault(key, []).append(off.item())


def measure_memory(
    cfg: Config, variants: Mapping[str, Mapping], iterations: int, stage: str = 'main'
) -> dict[str, float]:
    """Measure the peak memory of each way to train, in MiB, each in its own process.

    With a GPU it is what torch allocates there; without, by how much the process grows
    after all packages are loaded. The peak of a process never falls, so that ways in
    one process would hide each other.

    Args:
        cfg: The whole config.
        variants: Settings of each by name.
        iterations: How many are done.
        stage: Stage of the recipe, ``'warmup'`` or ``'main'``.
    """
    # On a GPU, children have only what this process does not hold.
    gc.collect()
    torch.cuda.empty_cache()
    peaks = {}
    for name, options in variants.items():
        own = variant_config(cfg, name, options).to_dict()
        with ProcessPoolExecutor(1, mp_context=get_context('spawn')) as pool:
            peaks[name] = pool.submit(_peak, own, iterations, stage).result()
    return peaks


def _peak(settings: dict, iterations: int, stage: str) -> float:
    cfg = Config(settings)
    if cfg.get('custom_imports'):
        import_modules_from_strings(**cfg.custom_imports)
    build_model(cfg)  # loads the packages
    reset_peak_memory()
    before = 0.0 if torch.cuda.is_available() else peak_memory()['mib']
    with tempfile.TemporaryDirectory(prefix='mmsr4ir_') as folder:
        steps = Steps(cfg, Path(folder), stage)
        for data in itertools.islice(endless(build_loader(cfg, 'train')), iterations):
            steps.hold()
            steps.iterate(data)
    return peak_memory()['mib'] - before
