import pytest
import torch
from torch.nn.functional import kl_div, log_softmax

from mmkd.distillation.recording import Recording
from mmkd.distillation.shared_classes import build_shared_classes
from mmkd.distillation.term import build_term
from mmkd.errors import UserError

STUDENT = ['Sky', 'tree', 'road', 'cars']
TEACHER = ['road', 'side walk', 'car', 'sky', 'sofa']
TERM = dict(student='a', teacher='b', loss=dict(type='LogitKDLoss', tau=1.0))


def recorded(path: str, value: torch.Tensor) -> Recording:
    recording = Recording([path])
    recording.add(path, value)
    return recording


def test_shared_classes_matches_names_but_for_spelling():
    shared = build_shared_classes(dict(student=STUDENT, teacher=TEACHER), None)
    assert shared.of_student.tolist() == [0, 2, 3]
    assert shared.of_teacher.tolist() == [3, 0, 2]
    assert shared.state_dict() == {}


def test_shared_classes_uses_each_class_once():
    names = dict(student=['lights', 'light', 'Lights'], teacher=['Light', 'light', 'lamp'])
    shared = build_shared_classes(names, None)
    assert shared.of_student.tolist() == [0, 1]
    assert shared.of_teacher.tolist() == [0, 1]


def test_term_with_classes_compares_only_shared_ones():
    term = build_term('logits', TERM | dict(classes=dict(student=STUDENT, teacher=TEACHER)))
    term.match_classes(None)
    student = torch.randn(2, 4, 3, 3, requires_grad=True)
    teacher, labels = torch.randn(2, 5, 3, 3), torch.randint(0, 4, (2, 3, 3))
    labels[0, 0, 0] = 255
    sides = recorded('a', student), recorded('b', teacher)
    term.build(*sides, 2, labels)
    value = term(*sides, labels)
    log_s = log_softmax(student[:, [0, 2, 3]], 1)
    log_t = log_softmax(teacher[:, [3, 0, 2]], 1)
    pixels = kl_div(log_s, log_t, reduction='none', log_target=True).sum(1)
    known = (labels != 255) & (labels != 1)  # a tree is not among the teacher's classes
    torch.testing.assert_close(value, pixels[known].mean())
    value.backward()
    assert not student.grad[:, 1].any() and student.grad[:, 0].any()


def test_shared_classes_takes_dataset_type_and_known_names():
    config = dict(student='mmseg.CityscapesDataset')
    shared = build_shared_classes(config, ['traffic light', 'bus', 'wardrobe'])
    assert len(shared.student) == 19
    assert [shared.student[i] for i in shared.of_student] == ['traffic light', 'bus']


def test_shared_classes_log_names_what_is_left_out(monkeypatch):
    said = []
    monkeypatch.setattr(
        'mmkd.distillation.shared_classes.print_log', lambda text, logger: said.append(text)
    )
    build_shared_classes(dict(student=STUDENT, teacher=TEACHER), None).report('logits')
    assert said == [
        'model.distill.logits.classes: compares 3: Sky, road, cars; left out of the student: tree; '
        'left out of the teacher: side walk, sofa'
    ]


@pytest.mark.parametrize(
    'classes, message',
    [
        (dict(student=['a', 'b'], teacher=['c']), 'a, b match none of the teacher'),
        (
            dict(student=['a']),
            'classes.teacher: expected names, because this teacher does not state',
        ),
        (dict(teacher=['a']), 'classes=.*: expected dict'),
        (dict(student='NoDataset', teacher=['a']), "student='NoDataset': expected a list of names"),
        (
            dict(student=['a', 'a'], teacher=['a']),
            'classes.student: expected each name once; remove one a',
        ),
        (dict(student=5, teacher=['a']), 'classes.student=5: expected a list'),
    ],
)
def test_shared_classes_that_do_not_fit_raise_user_error(classes, message):
    with pytest.raises(UserError, match=message) as error:
        build_shared_classes(classes, None)
    assert '\n' not in str(error.value)


def test_term_with_classes_of_other_channels_raises_user_error():
    term = build_term('logits', TERM | dict(classes=dict(student=STUDENT, teacher=TEACHER)))
    term.match_classes(None)
    sides = recorded('a', torch.randn(2, 7, 3, 3)), recorded('b', torch.randn(2, 5, 3, 3))
    with pytest.raises(UserError, match=r'classes.student: 4 names: .* shape \(2, 7, 3, 3\)'):
        term.build(*sides, 2)


def test_term_with_classes_and_adapter_raises_user_error():
    adapter = dict(type='Conv2d', kernel_size=1)
    config = TERM | dict(adapter=adapter, classes=dict(student=STUDENT, teacher=TEACHER))
    with pytest.raises(UserError, match='classes and adapter: expected one'):
        build_term('logits', config)
