"""What the teacher's views of a training depend on."""

import hashlib
import sys
from pathlib import Path

from mmengine.config import Config
from mmengine.utils import get_object_from_string

from mmkd.config.fingerprint import fingerprint
from mmkd.config.load import load_config
from mmkd.config.student import model_config
from mmkd.config.types import is_kind
from mmkd.registry import HOOKS
from mmkd.teachers import teacher_kind, teacher_weights


def views_origin(config: Config) -> dict[str, str]:
    """Return a hash of each part of a distillation config that the teacher's views depend on.

    The teacher's files are not among them, because a missing teacher is still to be trained.
    """
    teacher = dict(config.model.teacher)
    if teacher_kind(teacher) == 'config':
        teacher['network'] = model_config(load_config(teacher['config'])).to_dict()
    data = [config.train_dataloader.dataset, *unlabelled_datasets(config)]
    return {
        'model.teacher': fingerprint(teacher),
        'images and pipeline': fingerprint([dict(dataset) for dataset in data]),
        'data_preprocessor': fingerprint([model_config(config).get('data_preprocessor')]),
        'sampler.views': str(config.train_dataloader.sampler.get('views')),
    }


def files_origin(config: Config) -> dict[str, str]:
    """Return a hash of the teacher's weights, or their URL, and of the files beside them."""
    teacher = config.model.teacher
    path = teacher_weights(teacher)
    weights = path if '://' in path else _hash_file(Path(path).expanduser())
    others = []
    if teacher.get('huggingface'):
        others = sorted(Path(teacher['huggingface']).expanduser().glob('*.json'))
    elif teacher.get('type'):
        kind = teacher['type']
        kind = get_object_from_string(kind) if isinstance(kind, str) else kind
        module = sys.modules.get(getattr(kind, '__module__', None))
        others = [Path(module.__file__)] if getattr(module, '__file__', None) else []
    return {
        'weights of the teacher': weights,
        'files of the teacher': ' '.join(map(_hash_file, others)),
    }


def _hash_file(path: Path) -> str:
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def unlabelled_datasets(config: Config) -> list[dict]:
    """Return the configs of the datasets without labels that a training adds to its batches."""
    hooks = [*(config.get('default_hooks') or {}).values(), *(config.get('custom_hooks') or [])]
    return [
        hook['dataset']
        for hook in hooks
        if hook and hook.get('dataset') and is_kind(hook.get('type'), 'UnlabelledImagesHook', HOOKS)
    ]
