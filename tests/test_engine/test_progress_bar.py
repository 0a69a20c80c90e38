"""The progress bar of a real Runner, on a terminal that is emulated."""

import atexit
import io
import os
import pty
import re
import subprocess
import sys
from contextlib import redirect_stdout

import pytest
import torch
from conftest import ROOT
from test_log_processor import close, lines, steps, training, validated  # noqa: F401

from mmsr4ir.engine.hooks import progress_bar_hook
from mmsr4ir.models.sr4ir import SR4IR

BAR = dict(progress_bar=dict(type='mmsr4ir.ProgressBarHook', interval=0.0))
VALIDATED = validated(train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1))


class Terminal(io.StringIO):
    def isatty(self):
        return True


def screens(text):
    """What a wide terminal shows after each line that is finished, and at the end."""
    rows, row, column = [''], 0, 0
    for part in re.findall(r'\x1b\[\??\d*(?:;\d+)*[A-Za-z]|.', text, re.DOTALL):
        if part == '\n':
            yield rows
            row, column = row + 1, 0
            rows += [''] * (row + 1 - len(rows))
        elif part == '\r':
            column = 0
        elif part == '\x1b[2K':
            rows[row] = ''
        elif part.startswith('\x1b') and part[-1] == 'A':
            row -= int(part[2:-1] or 1)
        elif not part.startswith('\x1b'):
            rows[row] = (
                rows[row].ljust(column)[:column] + part + rows[row][column + 1 :]
            )
            column += 1
        else:  # colours and the cursor's look
            assert part[-1] in 'mhl', repr(part)
    yield rows


def final(text):
    return list(screens(text))[-1]


def frames(text):
    """Every drawing of the bar."""
    plain = re.sub(r'\x1b\[[\d;]*m', '', text)
    return re.findall(r'\x1b\[2K((?:epoch|iteration|validation|test)\b[^\n\r]*)', plain)


def messages(text):
    """The first lines of the messages in a log, without date and time."""
    return re.findall(
        r' - mmengine - INFO - (.*\S)', re.sub(r'\x1b\[[\d;]*m', '', text)
    )


def logged(work_dir):
    return messages(next(work_dir.glob('*/*.log')).read_text())


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setenv('COLUMNS', '1000')
    monkeypatch.setenv('TERM', 'xterm')
    for name in ('FORCE_COLOR', 'NO_COLOR', 'TTY_COMPATIBLE', 'TTY_INTERACTIVE'):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def test_it_shows_the_place_the_losses_and_the_time_left(tmp_path, terminal, steps):  # noqa: F811
    with redirect_stdout(terminal):
        training(tmp_path, warmup=1, hooks=BAR, **VALIDATED).train()
    found = list(dict.fromkeys(frames(terminal.getvalue())))
    places = [re.sub(r'[━╸╺ ]+', ' ', frame) for frame in found]
    trained = [place for place in places if place.startswith('epoch')]
    assert len(trained) == len(steps) == 4
    for i, (place, logs) in enumerate(zip(trained, steps, strict=True)):
        match = re.fullmatch(
            rf'epoch {i // 2 + 1}/2 {i % 2 + 1}/2 (.*) \| sr (\S+) \| task (\S+) \| '
            r'0:00:0\d left ?',
            place,
        )
        assert match, place
        assert match[1] == ('warmup, TDP off' if i < 2 else 'main, TDP on')
        assert float(match[2]) == close(logs['sr/loss'])
        assert float(match[3]) == close(logs['task/loss'])
    assert list(
        dict.fromkeys(
            re.sub(' 0:00:0. left ?', '', place)
            for place in places
            if not place.startswith('epoch')
        )
    ) == ['validation 1/2', 'validation 2/2']


def test_log_lines_and_prints_stay_whole_above_it(tmp_path, terminal, monkeypatch):
    plain = SR4IR.train_step

    def talking(self, *args, **kwargs):
        print('a library says something')
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(SR4IR, 'train_step', talking)
    with redirect_stdout(terminal):
        run = training(tmp_path, hooks=BAR, **VALIDATED)
        handler = next(
            h for h in run.logger.handlers if getattr(h, 'stream', None) is terminal
        )
        run.train()
        assert sys.stdout is terminal and handler.stream is terminal
    rows = final(terminal.getvalue())
    assert messages('\n'.join(rows)) == logged(tmp_path)
    assert len(lines(tmp_path, 'Epoch')) == 4
    assert rows.count('a library says something') == 4
    assert not [row for row in rows if '━' in row]
    # While it was drawn, the bar was the last row and there was one of it.
    drawn = [
        [bool(re.search('━', row)) for row in rows if row.strip()]
        for rows in map(list, screens(terminal.getvalue()))
    ]
    assert all(sum(rows) <= 1 for rows in drawn)


def test_iterations_and_a_test(tmp_path, terminal):
    with redirect_stdout(terminal):
        training(tmp_path, by_epoch=False, epochs=3, hooks=BAR).train()
    assert [
        re.sub(r'[━╸╺ ]+', ' ', frame).split(' |')[0]
        for frame in dict.fromkeys(frames(terminal.getvalue()))
    ] == [
        f'iteration {i}/6 {stage}'
        for i, stage in enumerate(['warmup, TDP off'] + ['main, TDP on'] * 5, 1)
    ]
    with redirect_stdout(terminal):
        training(tmp_path / 'test', hooks=BAR, **validated()).test()
    assert any(re.match('test ━+ 2/2', frame) for frame in frames(terminal.getvalue()))


@pytest.mark.parametrize('why', ['a file', 'a dumb terminal', 'another process'])
def test_nothing_is_drawn_where_it_would_do_harm(why, tmp_path, terminal, monkeypatch):
    if why == 'a file':
        monkeypatch.setattr(Terminal, 'isatty', lambda self: False)
        monkeypatch.setenv('FORCE_COLOR', '1')  # by which Rich takes it for a terminal
    elif why == 'a dumb terminal':
        monkeypatch.setenv('TERM', 'dumb')
    else:
        monkeypatch.setattr(progress_bar_hook, 'is_main_process', lambda: False)
    with redirect_stdout(terminal):
        training(tmp_path, hooks=BAR, **VALIDATED).train()
    text = terminal.getvalue()
    assert '━' not in text and '\r' not in text and '\x1b[2K' not in text
    assert messages(text) == logged(tmp_path)
    told = 'No progress bar: the output is no terminal' in logged(tmp_path)
    assert told == (why != 'another process')


def test_after_an_error_the_terminal_is_as_before(tmp_path, terminal, monkeypatch):
    plain = SR4IR.train_step
    at_exit = []
    monkeypatch.setattr(atexit, 'register', at_exit.append)

    def failing(self, *args, **kwargs):
        if len(frames(terminal.getvalue())):
            return {'sr/loss': torch.tensor(float('nan'))}
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(SR4IR, 'train_step', failing)
    with redirect_stdout(terminal):
        with pytest.raises(FloatingPointError):
            training(tmp_path, hooks=BAR).train()
        assert sys.stdout is not terminal and '━' in final(terminal.getvalue())[-1]
        for close_bar in at_exit:
            close_bar()
        assert sys.stdout is terminal
    assert not [row for row in final(terminal.getvalue()) if '━' in row]
    # The cursor is not left hidden, whatever happens.
    hidden, shown = (terminal.getvalue().rfind(f'\x1b[?25{x}') for x in 'lh')
    assert shown > hidden


@pytest.mark.slow
def test_the_option_of_the_command_line(tmp_path, coco_root, tiny_options):
    """In a real terminal, with processes that load the data."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [
            sys.executable,
            'tools/train.py',
            'configs/sr4ir/faster-rcnn_edsr_tiny.py',
            '--work-dir',
            str(tmp_path),
            '--progress-bar',
            *map(str, tiny_options(coco_root, **{'train_dataloader.num_workers': 1})),
        ],
        cwd=ROOT,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=os.environ
        | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', TERM='xterm', COLUMNS='1000'),
    )
    os.close(slave)
    content = b''
    try:
        while block := os.read(master, 65536):
            content += block
    except OSError:  # what a terminal that nobody has open any more says on Linux
        pass
    text = content.decode().replace('\r\n', '\n')
    assert process.wait(timeout=60) == 0, text[-3000:]
    found = frames(text)
    for bar in (
        r'epoch 1/2 [━╸╺]+ 1/3 warmup, TDP off \| sr ',
        r'epoch 2/2 ━+ 3/3 main, TDP on \| sr ',
        r'validation ━+ 2/2 0:00:00 left',
    ):
        assert any(re.match(bar, frame) for frame in found)
    rows = final(text)
    assert not [row for row in rows if '━' in row]
    shown, kept = (
        [line for line in found if re.match('Epoch|Val', line)]
        for found in (messages('\n'.join(rows)), logged(tmp_path))
    )
    assert shown == kept
    assert len(shown) == 6 + 2 + 1
