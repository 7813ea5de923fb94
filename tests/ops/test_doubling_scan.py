import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmkd.ops.doubling_scan import doubling_scan
from mmkd.ops.selective_scan import selective_scan, selective_scan_reference


def make_inputs(samples, groups, channels, states, length):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    total = groups * channels
    return [
        draw(samples, total, length),
        draw(samples, total, length),
        -draw(total, states).abs() - 0.1,
        draw(samples, groups, states, length),
        draw(samples, groups, states, length),
        draw(total),
        draw(total),
    ]


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 3)] * 4, st.integers(1, 40)),
    delta_softplus=st.booleans(),
)
def test_equals_the_definition(sizes, delta_softplus):
    inputs = make_inputs(*sizes)
    if not delta_softplus:
        inputs[1], inputs[6] = inputs[1].abs(), inputs[6].abs()
    expected = selective_scan_reference(*inputs, delta_softplus)
    torch.testing.assert_close(doubling_scan(*inputs, delta_softplus), expected)


class Scan(nn.Module):
    def forward(self, *inputs):
        return selective_scan(*inputs, backend='doubling')


def test_an_exported_scan_takes_every_length():
    length = torch.export.Dim.DYNAMIC
    shapes = ({2: length}, {2: length}, None, {3: length}, {3: length}, None, None)
    program = torch.export.export(
        Scan(), tuple(make_inputs(1, 4, 2, 1, 12)), dynamic_shapes=(shapes,), strict=False
    )
    for count in (2, 75, 300):
        inputs = make_inputs(1, 4, 2, 1, count)
        torch.testing.assert_close(program.module()(*inputs), selective_scan_reference(*inputs))


def test_a_traced_scan_takes_every_length():
    traced = torch.jit.trace(Scan(), tuple(make_inputs(1, 2, 2, 1, 12)), check_trace=False)
    inputs = make_inputs(1, 2, 2, 1, 75)
    torch.testing.assert_close(traced(*inputs), selective_scan_reference(*inputs))
