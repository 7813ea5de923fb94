"""tools/analysis/compare_losses.py: equal logs are equal, and one bit of difference is named."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tools/analysis'))

from compare_losses import compare  # noqa: E402

LOG = [dict(step=1, loss=1.0, lr=0.1), dict(step=2, loss=0.5, lr=0.1)]


def test_compare_equal_logs_counts_numbers():
    assert compare(LOG, [dict(line) for line in LOG]) == 'equal (6 numbers of 2 iterations)'


def test_compare_last_bit_names_iteration():
    other = [LOG[0], dict(LOG[1], loss=0.5000000000000001)]
    assert compare(LOG, other) == 'loss of iteration 2: 0.5 and 0.5000000000000001'


def test_compare_missing_loss_is_a_difference():
    other = [LOG[0], dict(step=2, lr=0.1)]
    assert compare(LOG, other) == 'loss of iteration 2: 0.5 and None'


@pytest.mark.slow
def test_compare_losses_of_one_revision_are_equal():
    command = [sys.executable, 'tools/analysis/compare_losses.py', '.', '.', '--iters', '2']
    done = subprocess.run(
        [*command, 'configs/segformer_fastscnn_freq.py'], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert '| configs/segformer_fastscnn_freq.py | equal (' in done.stdout
