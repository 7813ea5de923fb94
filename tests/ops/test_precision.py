import pytest
import torch

from mmkd.ops.precision import at_least_float32


@pytest.mark.parametrize('half', [torch.float16, torch.bfloat16])
def test_at_least_float32_widens_half_precision_only(half):
    narrow, wide = torch.ones(2, dtype=half), torch.ones(2, dtype=torch.float64)
    whole = torch.ones(2)
    widened, *kept = at_least_float32(narrow, whole, wide)
    assert widened.dtype == torch.float32
    assert kept[0] is whole and kept[1] is wide
