"""Who touches private names of other packages, and who ends the process."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop

import mmsr4ir
import mmsr4ir.compat

ROOT = Path(mmsr4ir.__file__).parent
FILES = [
    path
    for path in sorted(ROOT.rglob('*.py'))
    if 'compat' not in path.relative_to(ROOT).parts
]
# What a base class keeps for its subclasses, which are not in compat, because they are
# what the package is for; and names that only look private.
USED = {
    'apis/inferencer.py': {'_dispatch_kwargs', '_get_chunk_data'},  # BaseInferencer
    'engine/exact_loops.py': {  # of MMEngine's two training loops
        '_decide_current_val_interval',
        '_iter',
        '_max_epochs',
        '_max_iters',
    },
    'engine/log_processor.py': {  # LogProcessor
        '_collect_non_scalars',
        '_get_dataloader_size',
        '_get_epoch',
    },
    'engine/published_schedule.py': {'_ParamScheduler'},  # exported by mmengine.optim
    'models/sr4ir.py': {'_modules'},  # its own networks by name
}
# The private names of such a base class that a subclass defines itself.
OVERRIDDEN = {
    # BaseInferencer has these parts built in its constructor, and has no others.
    'SR4IRInferencer': {
        '_init_collate',
        '_init_model',
        '_init_pipeline',
        '_init_visualizer',
    },
    'ExactEpochLoop': {'_epoch'},  # the epoch that a training goes on from
    # Hook calls it after each iteration of a training, validation and test.
    'ProgressBarHook': {'_after_iter'},
    # What both texts of LogProcessor are made from; no public method is that for both.
    'PhaseLogProcessor': {'_collect_scalars'},
    'RampCosineRestartLR': {'_get_value'},  # abstract: how a schedule is defined
}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def private(name: str) -> bool:
    return name in ('__dict__', '__code__') or (
        name.startswith('_') and not name.endswith('__') and name != '_'
    )


def own_names(tree: ast.AST) -> set[str]:
    """What code defines: functions, classes, variables, attributes of ``self``."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif (
            isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and (of_itself(node.value))
        ):
            names.add(node.attr)
    return names


def of_itself(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ('self', 'cls')


def foreign(tree: ast.Module) -> Iterator[str]:
    """Private names of others in a file: attributes, imports, and by ``getattr``."""
    own = own_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            is_own_dict = node.attr == '__dict__' and of_itself(node.value)
            if node.attr not in own and not is_own_dict:
                yield node.attr
        elif (
            isinstance(node, ast.ImportFrom)
            and not node.level
            and (node.module or '').partition('.')[0] != 'mmsr4ir'
        ):
            yield from filter(
                private,
                [
                    *(alias.name for alias in node.names),
                    *(node.module or '').split('.'),
                ],
            )
        elif isinstance(node, ast.Call):
            name = getattr(node.func, 'id', getattr(node.func, 'attr', ''))
            if (
                name in ('getattr', 'hasattr', 'setattr', 'delattr')
                and len(node.args) > 1
                and isinstance(node.args[1], ast.Constant)
            ):
                yield from filter(private, [str(node.args[1].value)])
            # A constructor that is not the base's own: one was passed over.
            if name == '__init__' and not (
                isinstance(node.func.value, ast.Call)
                and getattr(node.func.value.func, 'id', '') == 'super'
            ):
                yield '__init__'


@pytest.mark.parametrize(
    'code, found',
    [
        ('runner._iter', ['_iter']),
        ('from torch._utils import x', ['_utils']),
        ('from torch.nn import _reduction as x', ['_reduction']),
        ('getattr(x, "_metadata", 1)', ['_metadata']),
        ('f.__code__', ['__code__']),
        ('wrapper.__dict__.pop("a")', ['__dict__']),
        ('OptimWrapper.__init__(self)', ['__init__']),
        ('super().__init__()', []),
        ('super()._dump()', ['_dump']),
        ('self._iter + 1', ['_iter']),
        ('self._mine = 1\nself._mine', []),
        ('self.__dict__', []),
        ('x.__mro__', []),
        ('from mmsr4ir.models import _x', []),
        ('from ._a import b', []),
    ],
)
def test_the_scan_finds(code, found):
    assert list(foreign(ast.parse(code))) == found


def test_private_names_of_others_are_used_in_compat_alone():
    used = {
        path.relative_to(ROOT).as_posix(): set(foreign(parsed(path))) for path in FILES
    }
    assert {path: names for path, names in used.items() if names} == USED


def defined(node: ast.AST) -> set[str]:
    """The private names that the code of a class or of a file defines."""
    return set(filter(private, own_names(node)))


@cache
def defined_by(kind: type) -> set[str]:
    """As :func:`defined`; a class that is written in C has no source."""
    try:
        return defined(ast.parse(textwrap.dedent(inspect.getsource(kind))))
    except (OSError, TypeError):
        return set()


def overridden(kind: type) -> set[str]:
    """The private names of a class that a base of another package defines, too."""
    bases = [
        base for base in kind.__mro__[1:] if base.__module__.split('.')[0] != 'mmsr4ir'
    ]
    return defined_by(kind) & set().union(*map(defined_by, bases))


class HookOfOnesOwn(Hook):
    def _after_iter(self, *args, **kwargs):
        self._mine = 1


class LoopOfOnesOwn(EpochBasedTrainLoop):
    def run(self):
        self._epoch = 1


@pytest.mark.parametrize(
    'kind, names',
    [(HookOfOnesOwn, {'_after_iter'}), (LoopOfOnesOwn, {'_epoch'}), (Hook, set())],
)
def test_the_look_at_base_classes_finds(kind, names):
    assert overridden(kind) == names


def test_overridden_private_names_are_listed():
    found = {}
    for path in FILES:
        derived = [
            node
            for node in ast.walk(parsed(path))
            if isinstance(node, ast.ClassDef) and node.bases and defined(node)
        ]
        if not derived:
            continue
        parts = path.relative_to(ROOT.parent).with_suffix('').parts
        module = import_module('.'.join(parts))
        for node in derived:
            # A class within a function cannot be looked at: it defines no such name.
            found[node.name] = overridden(getattr(module, node.name))
    assert {kind: names for kind, names in found.items() if names} == OVERRIDDEN


def ends_or_prints(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in ('print', 'sys.exit', 'exit', 'quit', 'os._exit'):
                yield name
        elif isinstance(node, ast.Raise) and 'SystemExit' in ast.unparse(node):
            yield 'SystemExit'


def test_only_the_command_lines_print_and_end_the_process():
    assert list(ends_or_prints(ast.parse('import sys\nprint(1)\nsys.exit(2)'))) == [
        'print',
        'sys.exit',
    ]
    found = {
        path.relative_to(ROOT).as_posix(): sorted(set(ends_or_prints(parsed(path))))
        for path in ROOT.rglob('*.py')
        if path.parent.name != 'cli'
    }
    assert {path: names for path, names in found.items() if names} == {
        'check_env.py': ['print', 'sys.exit']
    }  # a command line, too


def test_the_table_of_compat_names_every_module():
    rows = re.findall(r'^``(\w+)`` ', mmsr4ir.compat.__doc__, re.M)
    modules = {path.stem for path in (ROOT / 'compat').glob('[!_]*.py')}
    assert len(rows) == len(set(rows)) and set(rows) == modules
