import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mmkd.errors import UserError
from mmkd.taps import Tap, find_module, parse_tap, record, resolve_tap


class Net(nn.Module):
    """Calls ``head.forward`` directly, as OpenMMLab's heads do, and ``shared`` twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.act = nn.ReLU(inplace=True)
        self.shared = nn.Conv2d(4, 4, 1)
        self.head = nn.Sequential(nn.Conv2d(4, 2, 1))
        self.tail = nn.Linear(2, 1)
        self.tail_ran = False

    def pyramid(self, x):
        return (x, [x * 2, x * 3])

    def forward(self, x):
        x = self.act(self.stem(x))
        x = self.shared(self.shared(x))
        x = self.head.forward(x)
        self.tail_ran = True
        return self.tail(x.mean((2, 3)))


class Pyramid(nn.Module):
    def __init__(self):
        super().__init__()
        self.neck = nn.Module()
        self.neck.forward = lambda x: (x, [x * 2, x * 3])

    def forward(self, x):
        return self.neck.forward(x)


X = torch.randn(2, 3, 4, 4)


@given(
    st.lists(st.from_regex(r'[a-z_][a-z0-9_]*', fullmatch=True), min_size=1, max_size=4),
    st.lists(st.integers(-99, 99), max_size=3),
)
def test_parse_inverts_str(names, index):
    tap = Tap('.'.join(names), tuple(index))
    assert parse_tap(str(tap)) == tap


@pytest.mark.parametrize(
    'text', ['', '[0]', 'a[', 'a[x]', 'a..b', '.a', 'a.', 'a[0].b', 'a b', 'a[1.0]', 'é', None, 3]
)
def test_parse_refuses_with_the_value(text):
    with pytest.raises(UserError, match='form module.path') as error:
        parse_tap(text)
    assert repr(text) in str(error.value)


@pytest.mark.fuzz
@given(
    st.text(max_size=12)
    | st.text('ab._[]()-01 ', max_size=12)
    | st.text('a.[](1', max_size=12).map('attention({})'.format)
)
def test_parse_raises_nothing_else(text):
    try:
        tap = parse_tap(text)
    except UserError as error:
        assert repr(text) in str(error)
    else:
        assert str(tap).split('[')[0] == text.split('[')[0] and parse_tap(str(tap)) == tap


def test_records_modules_whose_forward_is_called_directly():
    net = Net()
    with record(net, [parse_tap('head')]) as recording:
        y = net(X)
    feature = recording.read(parse_tap('head'))
    assert feature.shape == (2, 2, 4, 4)
    assert torch.equal(net.tail(feature.mean((2, 3))), y)


def test_indexes_nested_outputs():
    net = Pyramid()
    with record(net, [parse_tap('neck')]) as recording:
        net(X)
    assert torch.equal(recording.read(parse_tap('neck[0]')), X)
    assert torch.equal(recording.read(parse_tap('neck[1][-1]')), X * 3)
    for text, reason in [('neck', 'add an index'), ('neck[2]', r'without \[2\]')]:
        with pytest.raises(UserError, match=reason):
            recording.read(parse_tap(text))
    assert net.neck.forward(X)[0] is X  # a forward set on the instance is put back


def test_a_module_that_runs_twice_yields_both_outputs():
    net = Net()
    with record(net, [parse_tap('shared'), parse_tap('stem')]) as recording:
        net(X)
    first, second = (recording.read(parse_tap(f'shared[{i}]')) for i in (0, 1))
    assert torch.equal(net.shared(first), second)
    assert recording.calls() == {'shared': 2, 'stem': 1}


def test_stops_at_the_last_tap():
    net = Net()
    with record(net, [parse_tap('shared')], stop_after={'shared': 2}) as recording:
        net(X)
    assert not net.tail_ran
    assert recording.calls() == {'shared': 2}


def test_refuses_an_output_overwritten_in_place():
    net = Net()
    with record(net, [parse_tap('stem')]) as recording:
        net(X)
    with pytest.raises(UserError, match="'stem'.*overwrites"):
        recording.read(parse_tap('stem'))


def test_forward_is_restored_after_an_error():
    net = Net()
    with pytest.raises(ZeroDivisionError), record(net, [parse_tap('head'), parse_tap('act')]):
        raise ZeroDivisionError
    assert all('forward' not in m.__dict__ for m in net.modules())


def test_a_module_that_never_ran_is_named():
    net = Net()
    with record(net, [parse_tap('tail')]) as recording:
        net.stem(X)
    with pytest.raises(UserError, match="never ran 'tail'"):
        recording.read(parse_tap('tail'))


def test_unknown_module_names_the_nearest():
    with pytest.raises(UserError, match=r"'haed'.*Net has no such module.*head"):
        find_module(Net(), 'haed')
    with pytest.raises(UserError, match='top level: stem, act, shared, head, tail'):
        find_module(Net(), 'zzzzzzzzzzzz')


class Numbered(Net):
    """A network whose paper counts its layers."""

    tap_aliases = {'net': {0: 'stem', 3: 'head.0'}}

    def __init__(self):
        super().__init__()
        self.head.tap_aliases = {'net': {4: ''}, 'other': {4: '0'}}


def resolve(text):
    return str(resolve_tap(Numbered(), parse_tap(text)))


def test_a_layer_goes_by_its_papers_number():
    assert resolve('net[0]') == 'stem'
    assert resolve('net[3][-1]') == 'head.0[-1]'
    assert resolve('net[4]') == 'head' and resolve('other[4]') == 'head.0'
    assert resolve('shared[1]') == 'shared[1]'


@pytest.mark.parametrize('text', ['net[1]', 'net[-1]', 'net', 'net[99][0]'])
def test_unknown_number_names_those_that_exist(text):
    with pytest.raises(UserError) as error:
        resolve(text)
    assert str(error.value) == (
        f'tap {text!r} names no layer of this network; allowed: net[0], net[3], net[4]'
    )


def test_unknown_alias_is_an_unknown_module():
    with pytest.raises(UserError, match='has no such module'):
        resolve('yolo[6]')
