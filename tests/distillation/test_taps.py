import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from mmkd.distillation.recording import record
from mmkd.distillation.tap import Tap, find_module, parse_tap, resolve_tap
from mmkd.errors import UserError


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
def test_parse_tap_inverts_str(names, index):
    tap = Tap('.'.join(names), tuple(index))
    assert parse_tap(str(tap)) == tap


@pytest.mark.parametrize(
    'text', ['', '[0]', 'a[', 'a[x]', 'a..b', '.a', 'a.', 'a[0].b', 'a b', 'a[1.0]', 'é', None, 3]
)
def test_parse_tap_bad_text_error_quotes_value(text):
    with pytest.raises(UserError, match='expected the form module.path') as error:
        parse_tap(text)
    assert repr(text) in str(error.value)


@pytest.mark.fuzz
@given(
    st.text(max_size=12)
    | st.text('ab._[]()-01 ', max_size=12)
    | st.text('a.[](1', max_size=12).map('attention({})'.format)
)
def test_parse_tap_any_text_raises_user_error_only(text):
    try:
        tap = parse_tap(text)
    except UserError as error:
        assert repr(text) in str(error)
    else:
        assert str(tap).split('[')[0] == text.split('[')[0] and parse_tap(str(tap)) == tap


def test_record_module_with_direct_forward_call_is_recorded():
    net = Net()
    with record(net, [parse_tap('head')]) as recording:
        y = net(X)
    feature = recording[parse_tap('head')]
    assert feature.shape == (2, 2, 4, 4)
    assert torch.equal(net.tail(feature.mean((2, 3))), y)


def test_recording_nested_output_is_indexed():
    net = Pyramid()
    with record(net, [parse_tap('neck')]) as recording:
        net(X)
    assert torch.equal(recording[parse_tap('neck[0]')], X)
    assert torch.equal(recording[parse_tap('neck[1][-1]')], X * 3)
    for text, reason in [('neck', 'add an index'), ('neck[2]', r'an entry \[2\]')]:
        with pytest.raises(UserError, match=reason):
            recording[parse_tap(text)]
    assert net.neck.forward(X)[0] is X  # a forward set on the instance is put back


def test_recording_module_that_runs_twice_has_both_outputs():
    net = Net()
    with record(net, [parse_tap('shared'), parse_tap('stem')]) as recording:
        net(X)
    first, second = (recording[parse_tap(f'shared[{i}]')] for i in (0, 1))
    assert torch.equal(net.shared(first), second)
    assert recording.calls() == {'shared': 2, 'stem': 1}


def test_record_stop_after_ends_at_last_tap():
    net = Net()
    with record(net, [parse_tap('shared')], stop_after={'shared': 2}) as recording:
        net(X)
    assert not net.tail_ran
    assert recording.calls() == {'shared': 2}


def test_recording_output_overwritten_in_place_raises_user_error():
    net = Net()
    with record(net, [parse_tap('stem')]) as recording:
        net(X)
    with pytest.raises(UserError, match="'stem'.*overwrites"):
        recording[parse_tap('stem')]


class Appending(nn.Module):
    """Replaces the parts of the list that its layer returns, and appends to it."""

    def __init__(self):
        super().__init__()
        self.parts = Parts()

    def forward(self, x):
        parts = self.parts(x)
        for i in range(len(parts)):
            parts[i] = parts[i] + 1
        parts.append(parts[0] * 2)
        return parts


class Parts(nn.Module):
    def forward(self, x):
        return [x * 1, x * 2]


@pytest.mark.parametrize('index', range(3))
def test_recording_of_a_list_that_a_later_layer_changes_raises_user_error(index):
    """A new part can take the memory, and so the id, of one that it replaces."""
    net, tap = Appending(), parse_tap(f'parts[{index}]')
    with record(net, [tap]) as recording:
        net(torch.ones(1, 2, 3, 3))
    with pytest.raises(UserError, match='a later layer changes the list'):
        recording[tap]


def test_recording_of_one_tensor_in_two_calls_is_read_for_the_last():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU(inplace=True)

        def forward(self, x):
            return self.act(self.act(x * 1).sub_(1))

    net, first, last = Twice(), parse_tap('act[0]'), parse_tap('act[1]')
    with record(net, [first]) as recording:
        output = net(torch.ones(1, 2, 3, 3))
    assert torch.equal(recording[last], output)
    with pytest.raises(UserError, match='expected an output that stays'):
        recording[first]


def test_record_error_in_block_restores_forward():
    net = Net()
    with pytest.raises(ZeroDivisionError), record(net, [parse_tap('head'), parse_tap('act')]):
        raise ZeroDivisionError
    assert all('forward' not in m.__dict__ for m in net.modules())


def test_recording_module_that_never_ran_raises_user_error():
    net = Net()
    with record(net, [parse_tap('tail')]) as recording:
        net.stem(X)
    with pytest.raises(UserError, match="never ran 'tail'"):
        recording[parse_tap('tail')]


def test_find_module_unknown_path_names_nearest():
    with pytest.raises(UserError, match=r"'haed'.*Net has no such module.*head"):
        find_module(Net(), 'haed')
    with pytest.raises(UserError, match='top level: stem, act, shared, head, tail'):
        find_module(Net(), 'zzzzzzzzzzzz')


def test_find_module_known_path_lists_no_modules(monkeypatch):
    net = Net()
    monkeypatch.setattr(net, 'named_modules', None)
    assert find_module(net, 'head.0') is net.head[0]


class Numbered(Net):
    """A network whose paper counts its layers."""

    tap_aliases = {'net': {0: 'stem', 3: 'head.0'}}

    def __init__(self):
        super().__init__()
        self.head.tap_aliases = {'net': {4: ''}, 'other': {4: '0'}}


def resolve(text):
    return str(resolve_tap(Numbered(), parse_tap(text)))


def test_find_module_alias_finds_layer_by_paper_number():
    assert resolve('net[0]') == 'stem'
    assert resolve('net[3][-1]') == 'head.0[-1]'
    assert resolve('net[4]') == 'head' and resolve('other[4]') == 'head.0'
    assert resolve('shared[1]') == 'shared[1]'


@pytest.mark.parametrize('text', ['net[1]', 'net[-1]', 'net', 'net[99][0]'])
def test_find_module_unknown_alias_number_names_existing(text):
    with pytest.raises(UserError) as error:
        resolve(text)
    assert str(error.value) == (
        f'tap {text!r}: expected a layer of this network: net[0], net[3], net[4]'
    )


def test_find_module_unknown_alias_is_unknown_module():
    with pytest.raises(UserError, match='has no such module'):
        resolve('yolo[6]')
