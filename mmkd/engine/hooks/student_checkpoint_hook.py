from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmkd.checkpoint import load_weights
from mmkd.configs import is_distillation, student_config
from mmkd.distiller import Distiller
from mmkd.engine.files import write_atomically
from mmkd.engine.wrapping import unwrapped
from mmkd.registry import HOOKS


@HOOKS.register_module()
class StudentCheckpointHook(Hook):
    """Makes a distillation's checkpoints the student's, openable wherever the student is.

    ``state_dict`` holds the student under its own names. Adapters and other trainable parts
    of the terms go to the checkpoint's key ``distill`` and come back on resume. The teacher's
    score goes to ``meta.teacher_score``. ``student.py``, the student's own config, is written
    into the work dir. Runs that do not distil are left alone.

    Raises:
        UserError: on resume, the checkpoint's trainable parts are not those of the terms.
    """

    # After EMAHook, which exchanges weights inside the checkpoint by their names in memory.
    priority = 'LOWEST'

    def before_train(self, runner: Runner) -> None:
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

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        model = unwrapped(runner.model)
        if not isinstance(model, Distiller) or 'state_dict' not in checkpoint:
            return
        terms = checkpoint.pop('distill', {})
        if runner.cfg.get('resume'):
            path = runner.cfg.get('load_from') or runner.work_dir
            load_weights(model.distill, terms, f'--resume: model.distill of {path}', exact=True)
        checkpoint['state_dict'].update({f'distill.{k}': v for k, v in terms.items()})


def _student_weights(state: dict, prefix: str = '') -> dict:
    kept = {k: v for k, v in state.items() if not k.startswith(f'{prefix}distill.')}
    return {
        prefix + k[len(prefix) :].removeprefix('student.') if k.startswith(prefix) else k: v
        for k, v in kept.items()
    }
