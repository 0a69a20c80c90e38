"""README and docs: links, files, commands and quotes; and the script that runs them."""

import argparse
import ast
import importlib.util
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mmsr4ir import registry

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / 'tools/misc/run_doc_commands.py'
_spec = importlib.util.spec_from_file_location('run_doc_commands', SCRIPT)
docs = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(docs)

PAGES = docs.list_pages()
PARTS = [
    part for page in PAGES for part in docs.read_page(page, (ROOT / page).read_text())
]
COMMANDS = [part for part in PARTS if isinstance(part, docs.Command)]
WRITTEN = {part.path for part in PARTS if isinstance(part, docs.File)}
FOLDERS = '(?:configs|docs|mmsr4ir|requirements|tests|tools)/'


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r'^ *```.*?^ *```', '', page.read_text(), flags=re.M | re.S)


def python_blocks(page: str) -> list[str]:
    return [
        '\n'.join(lines)
        for language, _, lines in docs.blocks((ROOT / page).read_text())
        if language == 'python'
    ]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r'^#+ (.*)$', prose(page), re.M)
    return {
        re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-')
        for heading in headings
    }


def linked(index: str) -> set[str]:
    """The pages of an index's own folder that it links, with itself."""
    page = ROOT / index
    return {page.name, *re.findall(r'\]\(([\w-]+\.md)\)', page.read_text())}


@pytest.mark.parametrize('index', ['docs/en/index.md', 'docs/en/reports/README.md'])
def test_an_index_links_every_page_of_its_folder(index):
    folder = (ROOT / index).parent
    assert {path.name for path in folder.glob('*.md')} == linked(index)
    assert {path.relative_to(ROOT).as_posix() for path in folder.glob('*.md')} <= set(
        PAGES
    )


def test_the_index_has_the_order_and_the_groups_of_the_site():
    groups = {}
    for line in (ROOT / 'docs/index.md').read_text().splitlines():
        if line.startswith(':caption: '):
            group = groups.setdefault(line.removeprefix(':caption: '), [])
        elif re.fullmatch(r'en/\w+', line):
            group.append(line.removeprefix('en/') + '.md')
    sections = re.split('^## ', (ROOT / 'docs/en/index.md').read_text(), flags=re.M)
    tables = {
        section.splitlines()[0]: re.findall(
            r'^\| \[[^]]*\]\((\w+\.md)\)', section, re.M
        )
        for section in sections[1:]
    }
    assert {name: pages for name, pages in tables.items() if pages} == {
        name: pages for name, pages in groups.items() if pages
    }


@pytest.mark.parametrize('page', PAGES)
def test_links_lead_somewhere(page):
    lost = []
    for target in re.findall(r'\]\(([^)\s]+)\)', prose(ROOT / page)):
        path, _, anchor = target.partition('#')
        file = (ROOT / page).parent / path if path else ROOT / page
        if '://' not in target and (
            not file.exists() or anchor and anchor not in anchors(file)
        ):
            lost.append(target)
    assert lost == []


@pytest.mark.parametrize('page', PAGES)
def test_files_that_are_named_exist(page):
    named = re.findall(rf'`({FOLDERS}[^`\s]*)`', prose(ROOT / page))
    assert [
        name
        for name in named
        if name not in WRITTEN and not any(ROOT.glob(name.rstrip('/')))
    ] == []


def test_configs_of_commands_that_are_not_run_exist():
    named = {
        word
        for command in COMMANDS
        if command.reason
        for word in shlex.split(command.text)
        if re.fullmatch(rf'{FOLDERS}.*\.\w+', word)
    }
    assert 'configs/sr4ir/faster-rcnn_edsr_coco.py' in named
    assert [name for name in named if not (ROOT / name).is_file()] == []


class Parsed(Exception):  # noqa: N818
    """A tool has understood its command line."""


@pytest.fixture
def parse(monkeypatch):
    """Start a tool and leave it as soon as it has parsed its arguments."""
    parse_args = argparse.ArgumentParser.parse_args

    def stop(parser, *args):
        parse_args(parser, *args)
        raise Parsed

    def run(tool: str, *arguments: str) -> None:
        monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', stop)
        monkeypatch.setattr(sys, 'argv', [tool, *arguments])
        with pytest.raises(Parsed):
            runpy.run_path(str(ROOT / tool), run_name='__main__')

    return run


@pytest.fixture(scope='module')
def handed(tmp_path_factory):
    """What a command line hands to python or srun, word by word."""
    folder = tmp_path_factory.mktemp('handed')
    for name in ('python', 'srun'):
        (folder / name).write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
        (folder / name).chmod(0o755)

    def run(command: str) -> list[str]:
        process = subprocess.run(
            ['bash', '-euc', command],
            cwd=ROOT,
            capture_output=True,
            text=True,
            env=os.environ | dict(PATH=f'{folder}:{os.environ["PATH"]}'),
            check=True,
        )
        return process.stdout.split('\0')[:-1]

    return run


@pytest.mark.parametrize(
    'command',
    [
        pytest.param(command.text, id=command.where)
        for command in COMMANDS
        if re.search(r'(^| )tools/', command.text)
    ],
)
def test_the_tool_has_the_options(command, handed, parse):
    words = handed(command)
    at = next(i for i, word in enumerate(words) if re.search(r'tools/.*\.py$', word))
    parse(*words[at:])


def test_an_option_that_a_tool_has_not_is_noticed(handed, parse):
    words = handed('PORT=1 bash tools/dist_train.sh c.py 2 --no-such-option "a b"')
    assert words[-5:] == ['c.py', '--launcher', 'pytorch', '--no-such-option', 'a b']
    with pytest.raises(SystemExit, match='2'):
        parse('tools/train.py', *words[-5:])


@pytest.mark.parametrize('page', PAGES)
def test_python_blocks_parse(page):
    for block in python_blocks(page):
        ast.parse(block)


def test_what_the_page_on_configs_quotes_is_what_they_say():
    configs = [
        ROOT / 'configs/sr4ir/faster-rcnn_edsr_coco.py',
        ROOT / 'configs/_base_/sr4ir.py',
        ROOT / 'configs/_base_/sr4ir_det.py',
    ]
    texts = [path.read_text() for path in configs]
    quotes = [
        block
        for block in python_blocks('docs/en/configs.md')
        if not block.startswith('# configs/')
    ]
    assert [quote for quote in quotes if not any(quote in text for text in texts)] == []
    # Line by line: no statement is left out.
    for statement in ast.parse(texts[0]).body:
        code = ast.get_source_segment(texts[0], statement)
        assert any(code in quote for quote in quotes), code


def test_the_page_on_configs_lists_all_classes_that_are_registered():
    registered = set()
    for node in vars(registry).values():
        if getattr(node, 'scope', None) == 'mmsr4ir':
            node.import_from_location()
            registered |= {
                name
                for name, kind in node.module_dict.items()
                if kind.__module__.startswith('mmsr4ir.')  # not those of other tests
            }
    page = (ROOT / 'docs/en/configs.md').read_text()
    (section,) = re.findall('^## All classes .*?^## ', page, re.M | re.S)
    listed = [
        name
        for row in re.findall(r'^\| (`.*?) \|', section, re.M)
        for name in re.findall(r'`(\w+)`', row)
        if name != 'type'
    ]
    assert sorted(listed) == sorted(registered)


def test_messages_that_are_explained_are_those_of_the_code():
    files = [
        path
        for folder in ('mmsr4ir', 'tools')
        for path in (ROOT / folder).rglob('*.py')
        if '.mim' not in path.parts
    ]
    # A message goes over several lines of code.
    code = re.sub(
        r"""['"]\s*\n\s*(?:\+ )?f?['"]""",
        '',
        '\n'.join(path.read_text() for path in files),
    )
    tables = re.findall(
        r'^\| message \|.*?\n\n',
        (ROOT / 'docs/en/troubleshooting.md').read_text(),
        re.M | re.S,
    )
    messages = [
        message
        for table in tables
        for row in table.splitlines()[2:]
        for message in re.findall('`([^`]*)`', row.split(' | ')[0])
    ]
    assert len(messages) > 30
    fragments = [
        part
        for message in messages
        for part in re.split(r'\W*\.\.\.\W*', message)
        if part
    ]
    assert [part for part in fragments if part not in code] == []


PAGE = """\
# Title

```shell
# a remark
python a.py \\
    --b c

cat out.txt
```

```python
# made/by.py
x = 1
```

```python
# no file of its own
```

1. An item
   ```bash
   make test
   ```

```text
python not_a_command.py
```
"""


def test_a_page_is_read_in_its_order():
    parts = list(docs.read_page('page.md', PAGE))
    assert parts == [
        docs.Command('page.md', 5, 'python a.py --b c'),
        docs.Command('page.md', 8, 'cat out.txt'),
        docs.File('page.md', 'made/by.py', '# made/by.py\nx = 1\n'),
        docs.Command('page.md', 22, 'make test'),
    ]
    assert [part.reason is None for part in (*parts[:2], parts[3])] == [
        True,
        True,
        False,
    ]
    assert parts[0].where == 'page.md:5'


def test_every_exception_is_one_of_a_command():
    reasons = {command.reason for command in COMMANDS}
    assert set(docs.NOT_RUN.values()) <= reasons
    words = {word for command in COMMANDS for word in shlex.split(command.text)}
    assert set(docs.SHORTER) <= words


def test_long_commands_are_made_short():
    command = docs.Command(
        'page.md', 1, 'python tools/dataset_converters/make_textured_shapes.py --x'
    )
    assert command.shortened == command.text + ' --num-train 8 --num-val 4'
    assert docs.Command('page.md', 1, 'cat a').shortened == 'cat a'


@pytest.fixture
def site(tmp_path):
    """A small repository with README.md, an index and two pages; and how to run it."""
    (tmp_path / 'docs/en').mkdir(parents=True)
    (tmp_path / 'tools/misc').mkdir(parents=True)
    shutil.copy(SCRIPT, tmp_path / 'tools/misc')
    (tmp_path / 'README.md').write_text('```shell\necho one >> made.txt\n```\n')
    (tmp_path / 'docs/en/index.md').write_text('[a](a.md) [b](b.md) [a](a.md)\n')
    (tmp_path / 'docs/en/a.md').write_text(
        '```python\n# conf/x.py\nx = 1\n```\n```shell\necho one >> made.txt\n'
        'test "$(cat made.txt)" = one\ngrep "x = 1" conf/x.py\ntouch of_a.txt\n```\n'
    )
    (tmp_path / 'docs/en/b.md').write_text('```shell\ntest ! -e of_a.txt\n```\n')

    def run(*arguments):
        return subprocess.run(
            [sys.executable, 'tools/misc/run_doc_commands.py', *arguments],
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return tmp_path, run


def test_pages_start_from_what_readme_made_and_from_nothing_else(site):
    root, run = site
    process = run('--jobs', '1')
    assert process.returncode == 0, process.stdout
    assert '\n5 commands ran in ' in process.stdout
    assert not (root / 'made.txt').exists()
    assert 'b.md' not in run('--pages', 'docs/en/a.md').stdout


def test_a_command_that_fails_is_named_and_the_exit_code_says_so(site):
    root, run = site
    (root / 'docs/en/b.md').write_text(
        'Text\n\n```shell\necho before; false\ntouch after\n```\n'
    )
    process = run()
    assert process.returncode == 1
    assert (
        'before\n\nerror: docs/en/b.md:4: this command failed: echo before; false\n'
        in process.stdout
    )
    assert 'docs/en/a.md:9' in process.stdout and 'touch after' not in process.stdout
    (root / 'README.md').write_text('```shell\nfalse | cat\n```\n')
    process = run()
    assert process.returncode == 1 and 'error: README.md:2: ' in process.stdout
    assert 'docs/en/' not in process.stdout


def test_what_is_not_run_is_listed_with_its_reason(site):
    root, run = site
    (root / 'docs/en/b.md').write_text('```sh\nmake test\n```\n')
    text = run('--list').stdout
    assert 'README.md:2: echo one >> made.txt\n' in text
    assert re.search(r'^docs/en/b\.md:2: make test  \[not run: .+\]$', text, re.M)
    assert run('--pages', 'docs/en/b.md').returncode == 0
    process = run('--pages', 'docs/en/none.md')
    assert process.returncode == 2
    assert "['docs/en/none.md']: there are" in process.stdout
    assert run('--jobs', '0').returncode == 2
