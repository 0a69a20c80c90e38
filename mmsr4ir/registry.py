"""The registry nodes of this package, children of MMEngine's under ``mmsr4ir``.

Only nodes that hold something of ours are declared; each imports its location the
first time a config asks for one of its modules.
"""

from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOG_PROCESSORS as MMENGINE_LOG_PROCESSORS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODEL_WRAPPERS as MMENGINE_MODEL_WRAPPERS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import PARAM_SCHEDULERS as MMENGINE_PARAM_SCHEDULERS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

MODELS = Registry(
    'model', parent=MMENGINE_MODELS, scope='mmsr4ir', locations=['mmsr4ir.models']
)
MODEL_WRAPPERS = Registry(
    'model wrapper',
    parent=MMENGINE_MODEL_WRAPPERS,
    scope='mmsr4ir',
    locations=['mmsr4ir.models'],
)
TRANSFORMS = Registry(
    'transform',
    parent=MMENGINE_TRANSFORMS,
    scope='mmsr4ir',
    locations=['mmsr4ir.models', 'mmsr4ir.datasets.task_size'],
)
HOOKS = Registry(
    'hook', parent=MMENGINE_HOOKS, scope='mmsr4ir', locations=['mmsr4ir.engine']
)
LOG_PROCESSORS = Registry(
    'log processor',
    parent=MMENGINE_LOG_PROCESSORS,
    scope='mmsr4ir',
    locations=['mmsr4ir.engine'],
)
LOOPS = Registry(
    'loop', parent=MMENGINE_LOOPS, scope='mmsr4ir', locations=['mmsr4ir.engine']
)
PARAM_SCHEDULERS = Registry(
    'parameter scheduler',
    parent=MMENGINE_PARAM_SCHEDULERS,
    scope='mmsr4ir',
    locations=['mmsr4ir.engine'],
)
RUNNERS = Registry(
    'runner', parent=MMENGINE_RUNNERS, scope='mmsr4ir', locations=['mmsr4ir.engine']
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmsr4ir',
    locations=['mmsr4ir.engine'],
)
OPTIM_WRAPPERS = Registry(
    'optimizer wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope='mmsr4ir',
    locations=['mmsr4ir.engine'],
)
METRICS = Registry(
    'metric', parent=MMENGINE_METRICS, scope='mmsr4ir', locations=['mmsr4ir.evaluation']
)
