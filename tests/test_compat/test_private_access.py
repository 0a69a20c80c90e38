"""Who touches private names of other packages, and who ends the process."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import mmsr4ir
import mmsr4ir.compat

ROOT = Path(mmsr4ir.__file__).parent
FILES = [
    path
    for path in sorted(ROOT.rglob('*.py'))
    if 'compat' not in path.relative_to(ROOT).parts
]
# What the base class keeps for its subclasses, which cannot stand in compat, as they
# are what the package is; and names that only look private.
ALLOWED = {
    'apis/inferencer.py': {'_dispatch_kwargs', '_get_chunk_data'},  # BaseInferencer
    'cli/verify_dataset.py': {'_metainfo'},  # BaseDataset
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
    'models/sr4ir.py': {'_modules'},  # of itself, in __getattr__
}


def private(name: str) -> bool:
    return name in ('__dict__', '__code__') or (
        name.startswith('_') and not name.endswith('__') and name != '_'
    )


def own_names(tree: ast.Module) -> set[str]:
    """What a file defines: functions, classes, variables, attributes of ``self``."""
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
        path.relative_to(ROOT).as_posix(): set(foreign(ast.parse(path.read_text())))
        for path in FILES
    }
    assert {path: names for path, names in used.items() if names} == ALLOWED


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
        path.relative_to(ROOT).as_posix(): sorted(
            set(ends_or_prints(ast.parse(path.read_text())))
        )
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
