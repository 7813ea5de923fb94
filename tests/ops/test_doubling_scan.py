import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmkd.ops.doubling_scan import doubling_scan
from mmkd.ops.selective_scan import selective_scan, selective_scan_reference


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 3)] * 4, st.integers(1, 40)),
    delta_softplus=st.booleans(),
)
def test_doubling_scan_equals_definition(scan_inputs, sizes, delta_softplus):
    inputs = scan_inputs(*sizes)
    if not delta_softplus:
        inputs[1], inputs[6] = inputs[1].abs(), inputs[6].abs()
    expected = selective_scan_reference(*inputs, delta_softplus)
    torch.testing.assert_close(doubling_scan(*inputs, delta_softplus), expected)


class Scan(nn.Module):
    def forward(self, *inputs):
        return selective_scan(*inputs, backend='doubling')


def test_doubling_scan_exported_takes_every_length(scan_inputs):
    length = torch.export.Dim.DYNAMIC
    shapes = ({2: length}, {2: length}, None, {3: length}, {3: length}, None, None)
    program = torch.export.export(
        Scan(), tuple(scan_inputs(1, 4, 2, 1, 12)), dynamic_shapes=(shapes,), strict=False
    )
    for count in (2, 75, 300):
        inputs = scan_inputs(1, 4, 2, 1, count)
        torch.testing.assert_close(program.module()(*inputs), selective_scan_reference(*inputs))


def test_doubling_scan_traced_takes_every_length(scan_inputs):
    traced = torch.jit.trace(Scan(), tuple(scan_inputs(1, 2, 2, 1, 12)), check_trace=False)
    inputs = scan_inputs(1, 2, 2, 1, 75)
    torch.testing.assert_close(traced(*inputs), selective_scan_reference(*inputs))
