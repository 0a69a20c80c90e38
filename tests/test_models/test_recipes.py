import pytest

from mmsr4ir.models.recipes import parse_recipe
from toys import RECIPES


@pytest.mark.parametrize('recipe', RECIPES.values(), ids=RECIPES)
def test_the_six_methods_are_recipes(recipe):
    phases = parse_recipe(recipe)
    assert [phase.name for phase in phases] == list(recipe)


def test_terms_and_stages_are_read():
    sr, task = parse_recipe(RECIPES['SR4IR'])
    assert (sr.update, task.update) == (('sr', ), ('task', ))
    assert [t.name for t in sr.active_losses('warmup')] == ['pixel']
    assert [t.name for t in sr.active_losses('main')] == ['pixel', 'tdp']
    assert [(t.image, t.weight) for t in task.losses] == [
        ('sr', 0.34), ('hr', 0.34), ('mix', 0.34)]


@pytest.mark.parametrize('recipe, message', [
    ({}, 'no phase'),
    (dict(a=dict(losses=dict(pixel=1))), "'a' updates nothing"),
    (dict(a=dict(update=[], losses=dict(pixel=1))), "'a' updates nothing"),
    (dict(a=dict(update='s', losses=dict(pixel=1))), r"networks are \['sr', 'task'\]"),
    (dict(a=dict(update='sr')), 'has no loss'),
    (dict(a=dict(update='sr', loss=dict(pixel=1))), r"unknown keys \['loss'\]"),
    (dict(a=dict(update='sr', losses=dict(gan=1))), "'gan' is unknown"),
    (dict(a=dict(update='sr', losses=dict(pixel=dict(w=1)))), r"unknown keys \['w'\]"),
    (dict(a=dict(update='task', losses=dict(task_lr=1))), "image 'lr'"),
    (dict(a=dict(update='sr', losses=dict(task_hr=1))), 'does not change with'),
    (dict(a=dict(update='task', losses=dict(pixel=1))), 'does not change with'),
    (dict(a=dict(update=['sr', 'task'], losses=dict(pixel=1))), r"updates \['task'\]"),
    (dict(a=dict(update='sr', losses=dict(tdp=dict(during='main')))), "'warmup'"),
    (dict(a=dict(update='sr', losses=dict(pixel=1), during='later')), "'later'"),
])
def test_a_recipe_that_cannot_work_is_refused(recipe, message):
    with pytest.raises(ValueError, match=message):
        parse_recipe(recipe)


def test_the_mix_needs_a_patch_mix():
    with pytest.raises(ValueError, match="'mix'.*patch_mix"):
        parse_recipe(RECIPES['SR4IR'], images=('hr', 'sr'))
