"""Keep what a training has left in a folder."""

from pathlib import Path

from mmengine.config import Config

from mmkd.config.student import is_distillation
from mmkd.errors import UserError

_CHECKPOINTS = ('best.pth', 'best_*.pth', 'iter_*.pth', 'epoch_*.pth')


def check_work_dir(config: Config) -> None:
    """Check that a training would not write over another one.

    Raises:
        UserError: the work dir is the folder of the teacher's checkpoint, or holds checkpoints
            that the training would replace.
    """
    folder = Path(config.work_dir)
    if is_distillation(config):
        checkpoint = (config.model.get('teacher') or {}).get('checkpoint')
        local = isinstance(checkpoint, str) and '://' not in checkpoint
        if local and Path(checkpoint).parent.resolve() == folder.resolve():
            raise UserError(
                f"work_dir={folder}: expected a folder other than the teacher's, whose best.pth "
                'the student would replace; choose one by --work-dir'
            )
    if config.get('resume') or not folder.is_dir():
        return
    found = sorted(path for pattern in _CHECKPOINTS for path in folder.glob(pattern))
    if found:
        raise UserError(
            f'work_dir={folder}: expected a folder without checkpoints, but it holds '
            f'{found[0].name}; go on with --resume, choose another --work-dir, or remove the folder'
        )
