import torch
from mmengine.config import Config
from mmengine.runner import CheckpointLoader

from mmkd.checkpoints.safe_load import FORCE_SAFE


def test_load_checkpoint_drops_config_text(tmp_path, monkeypatch):
    path = tmp_path / 'a.pth'
    meta = dict(config='raise SystemExit', cfg='raise SystemExit', iter=3)
    torch.save(dict(meta=meta, state_dict={}), path)
    monkeypatch.setattr(Config, 'fromstring', lambda *_: 1 / 0)
    assert CheckpointLoader.load_checkpoint(str(path))['meta'] == dict(iter=3)
    # Whoever trusts the file says so.
    monkeypatch.delenv(FORCE_SAFE)
    assert CheckpointLoader.load_checkpoint(str(path))['meta'] == meta
