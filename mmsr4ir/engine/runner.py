"""MMEngine's Runner, for what this package adds to a run of any config."""

import copy
import os
from collections.abc import Callable, Mapping

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from mmsr4ir.datasets.move_resize import move_resize
from mmsr4ir.registry import RUNNERS

from .exact_loops import use_exact_loops
from .gpu_settings import count_on_cpu, explain_not_deterministic, set_tf32
from .tta import keep_images
from .zoo_checks import check_zoo


@RUNNERS.register_module()
class SR4IRRunner(Runner):
    """Run a config with ``model.task_resize='pipeline'``, and resume it exactly.

    OpenMMLab's tools build it where a config has
    ``runner_type = 'mmsr4ir.SR4IRRunner'``.
    """

    @classmethod
    def from_cfg(cls, cfg: Config) -> Runner:
        """Build a Runner from a whole config.

        See :func:`~mmsr4ir.datasets.move_resize.move_resize` and
        :func:`~.exact_loops.use_exact_loops`.

        Raises:
            ConfigError: If the config needs what :func:`check_zoo` does not find.
        """
        check_zoo(cfg)
        use_exact_loops(cfg)
        move_resize(cfg)
        keep_images(cfg)  # of a library's own test.py --tta
        return super().from_cfg(cfg)

    def resume(
        self,
        filename: str,
        resume_optimizer: bool = True,
        resume_param_scheduler: bool = True,
        map_location: str | Callable = 'cpu',
    ) -> None:
        """Continue from a checkpoint as MMEngine does, but load it on the CPU.

        MMEngine loads it on the GPU. There it takes memory beside the networks, and
        the ``step`` of AdamW stays there, for which each update waits.
        """
        super().resume(filename, resume_optimizer, resume_param_scheduler, map_location)

    def setup_env(self, env_cfg: dict) -> None:
        """Set up the environment as MMEngine does, and TF32 by ``env_cfg.tf32``.

        Raises:
            ConfigError: If ``env_cfg.tf32`` is neither True nor False.
        """
        set_tf32(env_cfg.get('tf32'))
        super().setup_env(env_cfg)

    def set_randomness(
        self,
        seed: int | None,
        diff_rank_seed: bool = False,
        deterministic: bool = False,
    ) -> None:
        """Set the seed as MMEngine does; with ``deterministic`` prepare cuBLAS too."""
        if deterministic:
            # While deterministic algorithms are on, torch reads this variable before it
            # first multiplies matrices on a GPU, and refuses to do so without it.
            os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
        super().set_randomness(seed, diff_rank_seed, deterministic)

    def build_evaluator(self, evaluator: dict | list | Evaluator) -> Evaluator:
        """Build metrics as MMEngine does; deterministic ones if the run is."""
        built = super().build_evaluator(evaluator)
        if torch.are_deterministic_algorithms_enabled():
            count_on_cpu(built)
        return built

    def train(self) -> nn.Module:
        """Train; an operation that is not deterministic is named with its setting."""
        with explain_not_deterministic():
            return super().train()

    def val(self) -> dict:
        """Validate; an operation that is not deterministic is named, too."""
        with explain_not_deterministic():
            return super().val()

    def test(self) -> dict:
        """Test; an operation that is not deterministic is named, too."""
        with explain_not_deterministic():
            return super().test()

    @staticmethod
    def build_dataloader(
        dataloader: DataLoader | dict,
        seed: int | None = None,
        diff_rank_seed: bool = False,
    ) -> DataLoader:
        """Build a dataloader as MMEngine does, also with ``num_workers=0``.

        torch refuses settings of worker processes if there are no such processes, but
        configs set them in a base. With a GPU, batches wait in pinned memory unless the
        config sets ``pin_memory``: a copy from there does not hold up the CPU.
        """
        if isinstance(dataloader, Mapping):
            dataloader = copy.copy(dataloader)
            # torch warns of True if there is no GPU.
            dataloader.setdefault('pin_memory', torch.cuda.is_available())
            if not dataloader.get('num_workers'):
                for name in ('persistent_workers', 'prefetch_factor'):
                    dataloader.pop(name, None)
        return Runner.build_dataloader(dataloader, seed, diff_rank_seed)
