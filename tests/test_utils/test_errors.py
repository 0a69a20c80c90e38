"""Errors that a user can fix, and what the command lines make of them."""

import ast
import builtins
import faulthandler
import json
import types
from pathlib import Path

import pytest
from mmengine.registry import Registry
from torch.distributed.elastic.multiprocessing.errors import record

import mmsr4ir
from mmsr4ir.cli.command import command
from mmsr4ir.utils.configs import read_config
from mmsr4ir.utils.errors import ConfigError


def test_every_error_is_one_of_ours_and_a_builtin_one():
    found = {}
    for path in Path(mmsr4ir.__file__).parent.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.name.endswith('Error'):
                found[node.name] = [ast.unparse(base) for base in node.bases]
    assert found.pop('SR4IRError') == ['Exception'] and len(found) > 12
    for name, bases in found.items():
        if name.startswith('_'):  # leaves a forward pass, and meets no user
            assert bases == ['Exception']
        else:
            ours, builtin = bases
            assert ours == 'SR4IRError' and issubclass(
                getattr(builtins, builtin), Exception
            ), name


@pytest.mark.parametrize(
    'error, message',
    [
        (ConfigError('recipe: add one'), 'error: recipe: add one'),
        (
            FileNotFoundError(2, 'No such file', 'a.py'),
            "error: [Errno 2] No such file: 'a.py'",
        ),
    ],
)
def test_a_command_says_in_one_line_what_a_user_can_fix(error, message):
    @command
    def main(number: int) -> int:
        if number:
            raise error
        return 7

    assert main(0) == 7
    with pytest.raises(SystemExit) as end:
        main(number=1)
    assert end.value.code == message


@pytest.mark.parametrize(
    'cfg, message',
    [
        (dict(type='Nothing'), 'Nothing is not in the .* registry'),
        (dict(type='Base', wide=2), "unexpected keyword argument 'wide'"),
        # Not of its own, but of the class that it hands its arguments on to.
        (dict(type='Load', wide=2), "Base.__init__.. got an unexpected .* 'wide'"),
        (dict(type='Load', width=-1), '^error: the config: Load: width is -1$'),
    ],
)
def test_a_part_of_a_config_that_cannot_be_built_is_one_line(cfg, message):
    registry = Registry('part')

    @registry.register_module()
    class Base:
        def __init__(self, width: int = 1) -> None:
            if width < 0:
                raise ValueError(f'width is {width}')

    @registry.register_module()
    class Load(Base):
        def __init__(self, **options) -> None:
            super().__init__(**options)

    with pytest.raises(SystemExit, match=message):
        command(registry.build)(cfg)


def test_a_bug_keeps_its_traceback():
    @command
    def main() -> None:
        raise ValueError('of no user')

    with pytest.raises(ValueError, match='of no user'):
        main()

    class Part:
        def __init__(self) -> None:
            self.use()

        def use(self) -> None:
            raise ValueError('in what a part does')

    registry = Registry('part')
    registry.register_module(module=Part)
    with pytest.raises(ValueError, match='in what a part does'):
        command(registry.build)(dict(type='Part'))

    class Ours:  # of this package, with a wrong argument to another class
        def __init__(self) -> None:
            Part(wide=2)

    # A function's globals cannot be changed: it gets others.
    own = types.FunctionType(
        Ours.__init__.__code__,
        dict(__name__='mmsr4ir.models.ours', Part=Part),
        closure=Ours.__init__.__closure__,
    )
    Ours.__init__ = own
    registry.register_module(module=Ours)
    with pytest.raises(TypeError, match="unexpected keyword argument 'wide'"):
        command(registry.build)(dict(type='Ours'))


def test_the_launcher_of_several_processes_is_told_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(faulthandler, 'enable', lambda **_: None)  # of this process
    monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(tmp_path / 'error.json'))

    @command
    @record
    def main() -> None:
        raise ConfigError('recipe: add one')

    with pytest.raises(SystemExit, match='^error: recipe: add one$'):
        main()
    told = json.loads((tmp_path / 'error.json').read_text())['message']['message']
    assert told == 'ConfigError: recipe: add one'


@pytest.mark.parametrize(
    'code, message',
    [
        ('scale = factor * 4', "NameError: name 'factor' is not defined"),
        ("scale = 'x' / 4", 'TypeError: unsupported operand'),
    ],
)
def test_an_error_in_the_code_of_a_config_is_one_line(tmp_path, code, message):
    path = tmp_path / 'config.py'
    path.write_text(f'{code}\n')
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(str(path))
    assert f'config {path} cannot be read' in str(caught.value)
