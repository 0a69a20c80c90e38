import pytest
from mmengine.config import Config

from mmsr4ir.models.recipes import parse_recipe
from toys import RECIPES


@pytest.mark.parametrize('recipe', RECIPES.values(), ids=RECIPES)
def test_the_six_methods_are_recipes(recipe):
    phases = parse_recipe(recipe)
    assert [phase.name for phase in phases] == list(recipe)


def test_terms_and_stages_are_read():
    sr, task = parse_recipe(RECIPES['SR4IR'])
    assert (sr.update, task.update) == (('sr',), ('task',))
    assert [t.name for t in sr.active_losses('warmup')] == ['pixel']
    assert [t.name for t in sr.active_losses('main')] == ['pixel', 'tdp']
    assert [(t.images, t.weight) for t in task.losses] == [
        (('sr',), 0.34),
        (('hr',), 0.34),
        (('mix',), 0.34),
    ]
    assert not task.reuse_sr


def test_less_work_is_part_of_a_recipe():
    sr, task = parse_recipe(
        dict(
            RECIPES['SR4IR'],
            task=dict(update='task', reuse_sr=True, losses={'task_sr+hr+mix': 1.02}),
        )
    )
    assert task.reuse_sr and not sr.reuse_sr
    (term,) = task.losses
    assert term.images == ('sr', 'hr', 'mix') and term.teaches == {'sr', 'task'}


@pytest.mark.parametrize(
    'recipe, message',
    [
        ({}, 'no phase'),
        (dict(a=dict(losses=dict(pixel=1))), "'a' updates nothing"),
        (dict(a=dict(update=[], losses=dict(pixel=1))), "'a' updates nothing"),
        (
            dict(a=dict(update='s', losses=dict(pixel=1))),
            r"networks are \['sr', 'task'\]",
        ),
        (dict(a=dict(update=['sr', 'sr'], losses=dict(pixel=1))), 'a network twice'),
        (dict(a=dict(update='sr', losses=dict(pixel=float('nan')))), 'the weight nan'),
        (
            dict(a=dict(update='sr', losses=dict(pixel=dict(weight='inf')))),
            'weight inf',
        ),
        (dict(a=dict(update='sr')), 'has no loss'),
        (dict(a=dict(update='sr', loss=dict(pixel=1))), r"unknown keys \['loss'\]"),
        (dict(a=dict(update='sr', losses=dict(gan=1))), "'gan' is unknown"),
        (
            dict(a=dict(update='sr', losses=dict(pixel=dict(w=1)))),
            r"unknown keys \['w'\]",
        ),
        (dict(a=dict(update='task', losses=dict(task_lr=1))), "image 'lr'"),
        (dict(a=dict(update='sr', losses=dict(task_hr=1))), 'does not change with'),
        (dict(a=dict(update='task', losses=dict(pixel=1))), 'does not change with'),
        (
            dict(a=dict(update=['sr', 'task'], losses=dict(pixel=1))),
            r"updates \['task'\]",
        ),
        (dict(a=dict(update='sr', losses=dict(tdp=dict(during='main')))), "'warmup'"),
        (dict(a=dict(update='sr', losses=dict(pixel=1), during='later')), "'later'"),
        (dict(a=dict(update='task', losses={'task_sr+lr': 1})), "image 'lr'"),
        (dict(a=dict(update='task', losses={'task_sr+sr': 1})), 'an image twice'),
        (
            dict(a=dict(update='task', losses=dict(task_sr=1), reuse_sr=True)),
            "stage 'warmup' no phase before it makes SR images",
        ),
        (
            dict(
                a=dict(update='task', losses=dict(task_hr=1)),
                b=dict(update='task', losses=dict(task_sr=1), reuse_sr=True),
            ),
            'no phase before it makes SR images',
        ),
        (
            dict(
                a=dict(update='sr', losses=dict(pixel=1), during='main'),
                b=dict(update='task', losses=dict(task_sr=1), reuse_sr=True),
            ),
            "stage 'warmup' no phase before it makes SR images",
        ),
        (
            dict(a=dict(update='sr', losses=dict(pixel=1), reuse_sr=True)),
            'updates the SR network, which learns only from SR images of its own',
        ),
        (
            dict(a=dict(update='sr', losses=dict(pixel=1), sr_in_train_mode=True)),
            'it is for a phase that runs the SR network and does not update it',
        ),
        (
            dict(a=dict(update='sr', losses=dict(pixel=1), share=0)),
            'the share 0.0: give a part of the batch, more than 0 and at most 1',
        ),
        (
            dict(
                a=dict(update='sr', losses=dict(pixel=1), share=0.5),
                b=dict(update='task', losses={'task_hr|sr': 1}, reuse_sr=True),
            ),
            "needs the SR images of 1 of the batch, and phase 'a' has share=0.5",
        ),
        (dict(a=None), 'must be a dict of phases'),
        (dict(a=dict(update='sr', losses=['pixel'])), 'with a dict of losses'),
        ([dict(update='sr')], 'must be a dict of phases'),
        (
            dict(
                b=dict(update='sr', losses=dict(pixel=1)),
                a=dict(update='task', losses=dict(task_hr=1)),
            ),
            r"names that sort as they run, such as \['1_b', '2_a'\]",
        ),
        (
            dict(a=dict(update='sr', losses=dict(pixel=1), during='warmup')),
            "no phase of the recipe runs in stage 'main'",
        ),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(recipe, message):
    with pytest.raises(ValueError, match=message):
        parse_recipe(recipe)


def test_the_mix_needs_a_patch_mix():
    with pytest.raises(ValueError, match="'mix'.*patch_mix"):
        parse_recipe(RECIPES['SR4IR'], images=('hr', 'sr'))


def test_a_recipe_is_the_same_after_mmengine_has_written_its_config(tmp_path):
    """Which sorts all names: T's passes would come in another order."""
    recipe = dict(
        sr=dict(update='sr', losses=dict(tdp=1.0, pixel=1.0)),
        task=dict(
            update='task',
            losses=dict(task_sr=0.3, task_hr=0.3, task_mix=0.3, **{'task_sr+hr': 0.1}),
        ),
    )
    Config(dict(recipe=recipe)).dump(tmp_path / 'dumped.py')
    dumped = Config.fromfile(tmp_path / 'dumped.py').recipe
    assert list(dumped.task.losses) != list(recipe['task']['losses'])
    phases = parse_recipe(dumped)
    assert phases == parse_recipe(recipe)
    assert [term.name for phase in phases for term in phase.losses] == [
        'pixel',
        'tdp',
        'task_sr',
        'task_sr+hr',
        'task_hr',
        'task_mix',
    ]
