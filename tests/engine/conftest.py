import copy
from collections.abc import Callable

import pytest
from mmengine.config import Config
from mmengine.runner import Runner


@pytest.fixture
def student_recipe(recipe) -> Config:
    """The student alone on small images."""
    recipe.model = recipe.model.student
    pipeline = [dict(type='mmkd.RenderStreet'), dict(type='PackSegInputs')]
    for loader in (recipe.train_dataloader, recipe.val_dataloader):
        loader.dataset.update(size=(64, 96), pipeline=pipeline)
    return recipe


@pytest.fixture
def runner_of() -> Callable[..., Runner]:
    """Build a runner of a copy of a config."""

    def build(recipe: Config, work_dir: object, **changes: object) -> Runner:
        config = copy.deepcopy(recipe)
        config.merge_from_dict(dict(work_dir=str(work_dir), **changes))
        return Runner.from_cfg(config)

    return build
