"""What the teacher's views of a training depend on."""

import hashlib
from pathlib import Path

from mmengine.config import Config

from mmkd.config.fingerprint import fingerprint
from mmkd.config.load import load_config
from mmkd.config.student import model_config
from mmkd.config.types import type_name
from mmkd.teachers import teacher_kind, teacher_weights


def views_origin(config: Config) -> dict[str, str]:
    """Return a hash of each part of a distillation config that the teacher's views depend on.

    The teacher's weights are not among them, because a missing teacher is still to be trained.
    """
    teacher = {key: value for key, value in config.model.teacher.items() if key != 'checkpoint'}
    if teacher_kind(teacher) == 'config':
        teacher['network'] = model_config(load_config(teacher['config'])).to_dict()
    data = [config.train_dataloader.dataset, *unlabelled_datasets(config)]
    return {
        'model.teacher': fingerprint(teacher),
        'images and pipeline': fingerprint([dict(dataset) for dataset in data]),
        'data_preprocessor': fingerprint([model_config(config).get('data_preprocessor')]),
        'sampler.views': str(config.train_dataloader.sampler.get('views')),
    }


def weights_origin(config: Config) -> dict[str, str]:
    """Return a hash of the file with the teacher's weights, or their URL."""
    path = teacher_weights(config.model.teacher)
    if '://' not in path:
        with open(Path(path).expanduser(), 'rb') as file:
            path = hashlib.file_digest(file, 'sha256').hexdigest()
    return {"the teacher's weights": path}


def unlabelled_datasets(config: Config) -> list[dict]:
    """Return the configs of the datasets without labels that a training adds to its batches."""
    hooks = [*(config.get('default_hooks') or {}).values(), *(config.get('custom_hooks') or [])]
    return [
        hook['dataset']
        for hook in hooks
        if hook and type_name(hook.get('type')) == 'UnlabelledImagesHook'
    ]
