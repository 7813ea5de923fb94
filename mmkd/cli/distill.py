"""Write a distillation's config for a student and a teacher, and train it."""

import argparse
import copy
import os
import re
import shlex
import sys
from pathlib import Path

from mmengine.config import Config
from torch import nn

from mmkd.analysis.choose_terms import METHODS, choose_terms
from mmkd.analysis.survey_pair import build, survey_pair
from mmkd.checkpoints.atomic_files import write_atomically
from mmkd.config.checks.checkpoints import checkpoint_hook, has_best_checkpoint_hook
from mmkd.config.checks.data import check_dataloaders
from mmkd.config.checks.loops import trains_by_epoch
from mmkd.config.class_names import class_names
from mmkd.config.distillation_text import distillation_text
from mmkd.config.load import config_name, load_config
from mmkd.config.student import imported_modules, is_distillation, model_config
from mmkd.config.types import type_name
from mmkd.datasets.data_folder import folder_dataloaders
from mmkd.engine.teacher_preparation import check_trainable
from mmkd.errors import UserError
from mmkd.openmmlab.tasks import is_classifier, is_segmentor
from mmkd.teachers import (
    TeacherNetwork,
    build_teacher_network,
    teacher_kind,
    teacher_weights,
)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__)
    parser.add_argument('student', help="the student's config: a file, or mmseg::... or mmdet::...")
    parser.add_argument(
        '--teacher',
        required=True,
        help='CONFIG, CONFIG:CHECKPOINT, a Hugging Face SegFormer folder, or timm:NAME:CHECKPOINT',
    )
    parser.add_argument('--data', help="a folder of your images (default: the student's data)")
    parser.add_argument(
        '--method',
        choices=METHODS,
        default='auto',
        help='what to compare; auto: features and logits',
    )
    parser.add_argument('--out', help='config to write (default: STUDENT_METHOD.py)')
    parser.add_argument('--write-only', action='store_true', help='write the config; do not train')
    return parser.parse_args()


def split_teacher(text: str) -> dict[str, str]:
    """Return ``model.teacher`` for the text that names it.

    It is ``CONFIG``, ``CONFIG:CHECKPOINT``, the folder of a Hugging Face SegFormer, or
    ``timm:NAME:CHECKPOINT``. Without a checkpoint it is the file that training the config writes,
    and mmkd trains the teacher first where that file is missing.

    Raises:
        UserError: The text names none of these, or a library's config without weights.
    """
    if text.startswith('timm:'):
        _, name, checkpoint = [*text.split(':', 2), '', ''][:3]
        if not name or not checkpoint:
            raise UserError(f'--teacher={text}: expected timm:NAME:CHECKPOINT')
        return dict(timm=name, checkpoint=os.path.expanduser(checkpoint))
    if text and Path(text).is_dir():
        return dict(huggingface=text)
    match = re.fullmatch(r'(.+?\.py)(?::(.+))?', text)
    if match is None:
        raise UserError(
            f'--teacher={text}: expected CONFIG.py, CONFIG.py:CHECKPOINT, a folder of a Hugging '
            'Face SegFormer, or timm:NAME:CHECKPOINT'
        )
    config, checkpoint = match.groups()
    checkpoint = checkpoint and os.path.expanduser(checkpoint)
    if checkpoint is None and '::' in config and not config.startswith('mmkd::'):
        raise UserError(f'--teacher={text}: expected its weights too; write {text}:CHECKPOINT')
    return dict(config=config, checkpoint=checkpoint or f'work_dirs/{config_name(config)}/best.pth')


def change_classes(model: dict, count: int) -> dict[str, dict | list[dict]]:
    """Return the parts of a segmentor's config to change so that it has ``count`` classes."""
    changes = {}
    for key in ('decode_head', 'auxiliary_head'):
        head = model.get(key)
        if isinstance(head, dict):
            changes[key] = dict(num_classes=count)
        elif head is not None:
            changes[key] = [dict(num_classes=count) for _ in head]
    return changes


def use_folder(
    config: Config, overrides: dict[str, dict], changes: dict[str, dict | list[dict]]
) -> None:
    """Change a student's config as the written file changes it.

    Args:
        config: The student's config; it changes in place.
        overrides: Its dataloaders, from ``folder_dataloaders``.
        changes: Parts of its model, from ``change_classes``.
    """
    # MMEngine takes `_delete_` out of what it merges, and the written file needs it.
    config.merge_from_dict(copy.deepcopy(overrides))
    parts = {
        key: change if isinstance(change, dict) else {str(i): c for i, c in enumerate(change)}
        for key, change in changes.items()
    }
    config.merge_from_dict(dict(model=parts), allow_list_keys=True)


def checkpoint_options(config: Config, network: nn.Module) -> dict | None:
    """Return what a config's ``CheckpointHook`` lacks to choose ``best.pth``.

    Returns:
        The hook's keys that are to be added; None where the config keeps ``best.pth`` itself.
    """
    if has_best_checkpoint_hook(config):
        return None
    hook = checkpoint_hook(config)
    if hook:
        options = {}
    else:
        by_epoch = trains_by_epoch(config)
        options = dict(type='CheckpointHook', by_epoch=by_epoch)
        options |= {} if by_epoch else dict(interval=500)
    if hook.get('save_best') in (None, 'auto'):
        options |= dict(save_best=_best_metric(config, network), rule='greater')
    return options


def _best_metric(config: Config, network: nn.Module) -> str:
    evaluator = config.get('val_evaluator') or {}
    evaluator = evaluator[0] if isinstance(evaluator, list) else evaluator
    if is_segmentor(network):
        return (evaluator.get('iou_metrics') or ['mIoU'])[0]
    return 'pascal_voc/mAP' if type_name(evaluator.get('type')) == 'VOCMetric' else 'coco/bbox_mAP'


def load_teacher(teacher: dict[str, str]) -> TeacherNetwork:
    """Build the teacher; with random weights where its checkpoint is yet to be trained."""
    checkpoint = teacher_weights(teacher)
    is_trained = '://' in checkpoint or Path(checkpoint).is_file()
    if is_trained or teacher_kind(teacher) != 'config':
        return build_teacher_network(teacher)
    if Path(checkpoint).exists():
        raise UserError(f'--teacher: {checkpoint} is a folder: expected a file of weights')
    config = load_config(teacher['config'])
    if not has_best_checkpoint_hook(config):
        raise UserError(
            f'--teacher: {checkpoint} does not exist: expected weights; write CONFIG:CHECKPOINT'
        )
    check_trainable(teacher['config'], checkpoint)
    print(f'{checkpoint} does not exist yet; mmkd trains {teacher["config"]} first')
    preprocessor = model_config(config).get('data_preprocessor')
    return TeacherNetwork(build(config), preprocessor, class_names(config))


def main() -> None:
    args = parse_args()
    teacher = split_teacher(args.teacher)
    out = Path(args.out or f'{config_name(args.student)}_{args.method}.py')
    if out.suffix != '.py':
        raise UserError(f'--out={out}: expected a name that ends in .py')
    config = load_config(args.student)
    if Config._is_lazy_import(config.filename):
        plain = shlex.quote(f'{config_name(args.student)}_plain.py')
        raise UserError(
            f'{args.student}: expected a text config, which the written file inherits, but it is '
            f'a pure Python config; run mmkd config {shlex.quote(args.student)} > {plain}, and '
            f'give {plain}'
        )
    if is_distillation(config):
        raise UserError(
            f'{args.student}: expected the config of a student alone, but it is a distillation; '
            'give the config of its student'
        )
    for key in ('train_dataloader', 'val_dataloader') if args.data else ('train_dataloader',):
        if not config.get(key):
            raise UserError(
                f'{args.student}: {key}=None: expected the config that trains the student; the '
                'student.py of a work dir does not'
            )
    overrides, changes = {}, {}
    if args.data:
        if 'decode_head' not in config.model:
            raise UserError(
                f"--data={args.data}: expected a segmentor; name a detector's data in its config"
            )
        overrides = folder_dataloaders(args.data, config)
        classes = overrides['train_dataloader']['dataset']['metainfo']['classes']
        changes = change_classes(config.model, len(classes))
        use_folder(config, overrides, changes)
    check_dataloaders(config, 'train_dataloader')
    student = build(config)
    if is_classifier(student):
        raise UserError(
            f'{args.student}: expected a segmentor or a detector; for a classifier, inherit '
            'configs/resnet34_resnet18_at_cifar10.py'
        )
    networks = survey_pair(student, load_teacher(teacher), config)
    choice = choose_terms(networks, args.method)
    base = args.student if '::' in args.student else os.path.relpath(config.filename, out.parent)
    text = distillation_text(
        base,
        teacher,
        choice.terms,
        comments=['Written by mmkd distill.', *choice.reasons],
        checkpoint=checkpoint_options(config, student),
        overrides=overrides,
        student_overrides=changes,
        imports=imported_modules(config),
    )
    if out.exists() and out.read_bytes() != text.encode():
        raise UserError(
            f'--out={out}: expected a new file, but it exists with other content; name another, or '
            'remove it'
        )
    write_atomically(out, text.encode())
    print('\n'.join(choice.reasons))
    print(f'wrote {out}; this trains it: mmkd train {shlex.quote(str(out))}', flush=True)
    if not args.write_only:
        from mmkd.cli import train

        sys.argv = ['mmkd train', str(out)]
        train.main()
