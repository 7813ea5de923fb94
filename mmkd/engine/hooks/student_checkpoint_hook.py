import hashlib
from pathlib import Path

import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from torch import nn
from torch.distributed.tensor import DTensor

from mmkd.checkpoints.atomic_files import write_atomically
from mmkd.checkpoints.load_weights import load_weights
from mmkd.config.student import is_distillation, student_config
from mmkd.distillation.distiller import Distiller
from mmkd.distillation.gradient_share import GradientShare
from mmkd.engine.wrapping import unwrapped
from mmkd.errors import UserError
from mmkd.registry import HOOKS
from mmkd.teachers import teacher_weights


@HOOKS.register_module()
class StudentCheckpointHook(Hook):
    """Write checkpoints of the student, so that its own config loads them.

    ``state_dict`` holds the student under its own names. Adapters and other trainable parts of the
    terms are stored under the key ``distill`` and restored on resume. By ``load_from`` they are
    restored too, except weights that are a share of the gradient. The teacher's score is stored
    in ``meta.teacher_score``, a hash of its weights in ``meta.teacher``: a run that is resumed with
    other weights gets a warning. The student's config is written to the work dir as ``student.py``.
    Runs that do not distil are ignored.

    Raises:
        UserError: On resume, the checkpoint's trainable parts do not match the terms. Before
            training, an ``EMAHook`` is strict: its averages are saved of the student alone.
    """

    # Run after EMAHook, which swaps weights in the checkpoint by their names in memory.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._teacher: str | None = None

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        if isinstance(model, Distiller):  # before the teacher is shared out among processes
            self._hash_teacher(model)
            if any(isinstance(hook, EMAHook) and hook.strict_load for hook in runner.hooks):
                raise UserError(
                    'EMAHook.strict_load=True: expected False in a distillation, whose checkpoints '
                    'hold the averages of the student alone; leave it out'
                )
        if runner.rank == 0 and is_distillation(runner.cfg):
            text = student_config(runner.cfg).pretty_text
            write_atomically(Path(runner.work_dir) / 'student.py', text.encode())

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = unwrapped(runner.model)
        if not isinstance(model, Distiller):
            return
        checkpoint['distill'] = {k: v.cpu() for k, v in model.distill.state_dict().items()}
        checkpoint['state_dict'] = _student_weights(checkpoint['state_dict'])
        if 'ema_state_dict' in checkpoint:
            checkpoint['ema_state_dict'] = _student_weights(checkpoint['ema_state_dict'], 'module.')
        score = runner.message_hub.runtime_info.get('teacher_score')
        if score is not None:
            checkpoint['meta']['teacher_score'] = dict(score)
        checkpoint['meta']['teacher'] = self._hash_teacher(model)

    def _hash_teacher(self, model: Distiller) -> str:
        if self._teacher is None:
            self._teacher = hash_weights(model.teacher.network)
        return self._teacher

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = unwrapped(runner.model)
        if 'state_dict' not in checkpoint:
            return
        if hasattr(getattr(model, 'student', model), 'module'):
            # MMEngine takes the first `module.` off every name, which is the network's own here.
            state = checkpoint['state_dict']
            checkpoint['state_dict'] = {_keep_module(name): v for name, v in state.items()}
        if not isinstance(model, Distiller):
            return
        terms = checkpoint.pop('distill', {})
        if runner.cfg.get('resume'):
            before = (checkpoint.get('meta') or {}).get('teacher')
            if before is not None and before != self._hash_teacher(model):
                runner.logger.warning(
                    f'--resume: model.teacher: {teacher_weights(runner.cfg.model.teacher)} '
                    'holds other weights than the teacher that this run had before'
                )
            path = runner.cfg.get('load_from') or runner.work_dir
            load_weights(model.distill, terms, f'--resume: model.distill of {path}', exact=True)
        else:  # a gradient share's weight fits the losses and the share of that training only
            measured = tuple(
                f'{name}.weight.'
                for name, term in model.distill.items()
                if isinstance(term.weight, GradientShare)
            )
            terms = {key: value for key, value in terms.items() if not key.startswith(measured)}
        checkpoint['state_dict'].update({f'distill.{k}': v for k, v in terms.items()})


def hash_weights(network: nn.Module) -> str:
    """Return a hash of a network's weights, which tells two teachers apart.

    If the weights are shared out among processes, all of them must call it.
    """
    digest = hashlib.sha256()
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        value = value.full_tensor() if isinstance(value, DTensor) else value
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _keep_module(name: str) -> str:
    own = name.startswith('module.') and not name.startswith('module.module.')
    return f'module.{name}' if own else name


def _student_weights(state: dict, prefix: str = '') -> dict:
    kept = {k: v for k, v in state.items() if not k.startswith(f'{prefix}distill.')}
    return {
        prefix + k[len(prefix) :].removeprefix('student.') if k.startswith(prefix) else k: v
        for k, v in kept.items()
    }
