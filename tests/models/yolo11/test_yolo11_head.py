import math
import pickle
import subprocess
import sys

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import nn
from torchvision.ops import batched_nms

from mmkd.errors import UserError


def images(seed=0, count=2):
    return torch.randn(count, 3, 64, 96, generator=torch.Generator().manual_seed(seed))


def sample(boxes=(), labels=()):
    instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        labels=torch.tensor(labels, dtype=torch.long),
    )
    metainfo = dict(img_shape=(64, 96), ori_shape=(64, 96), scale_factor=(1.0, 1.0))
    return DetDataSample(gt_instances=instances, metainfo=metainfo)


BOXES = sample([[8, 8, 50, 60], [30, 20, 90, 40.5]], [0, 2])


@pytest.fixture
def network(build):
    network = build('n', 3).eval()
    network.init_weights()
    return network


def test_yolo11_head_fresh_predicts_few_objects_of_stride_size(network):
    head = network.bbox_head
    branches = zip((8, 16, 32), head.box_branches, head.class_branches, strict=True)
    for stride, boxes, classes in branches:
        assert (boxes[-1].bias == 1).all()
        expected = 5 / 3 / (640 / stride) ** 2  # as a probability, of which log is nearly logit
        assert classes[-1].bias.sigmoid().tolist() == pytest.approx([expected] * 3, rel=0.01)


@torch.no_grad()
def test_yolo11_head_predict_returns_survivors_of_nms(build):
    network = build('n', 3).eval()  # weights that make scores differ
    scores, boxes = network(images(), mode='tensor')
    network.bbox_head.test_cfg.update(score_thr=0.0, max_per_img=40)
    samples = [sample(), sample()]
    for s in samples:  # the network's images are a quarter and half as large as the originals
        s.set_metainfo(dict(scale_factor=(0.25, 0.5)))
    found = network.predict(images(), samples)
    corners = network.bbox_head.decode(boxes)
    for i, detections in enumerate(s.pred_instances for s in found):
        probability = torch.cat([s[i].flatten(1) for s in scores], 1).sigmoid().T
        box = corners[i].clamp(min=0).minimum(torch.tensor([96.0, 64, 96, 64]))
        box = box[:, None].expand(-1, 3, -1).reshape(-1, 4)
        label = torch.arange(3).expand(len(probability), -1).flatten()
        keep = batched_nms(box, probability.flatten(), label, 0.7)[:40]
        original = box[keep] * torch.tensor([4.0, 2, 4, 2])
        torch.testing.assert_close(detections.bboxes, original, rtol=0, atol=1e-3)
        torch.testing.assert_close(detections.scores, probability.flatten()[keep])
        assert torch.equal(detections.labels, label[keep])


def test_yolo11_head_targets_equal_definition(network):
    """Of each ground truth's positives the best aligned has the highest overlap as its target."""
    torch.manual_seed(1)
    seen = {}

    class Spy(nn.Module):
        def forward(self, pred, target, avg_factor):
            seen.update(targets=target, total=avg_factor)
            return pred.sum()

    head = network.bbox_head
    head.loss_cls = Spy()
    scores, boxes = network(images(), mode='tensor')
    head.loss_by_feat(scores, boxes, [BOXES.gt_instances, sample().gt_instances], [])
    priors, decoded = head._priors(boxes), head.decode(boxes)[0]
    probability = torch.cat([s[0].flatten(1) for s in scores], 1).sigmoid().T
    overlaps = head.assigner.iou_calculator(
        torch.cat((decoded, priors[:, :2]), 1), BOXES.gt_instances.bboxes
    )
    metric = probability[:, [0, 2]].sqrt() * overlaps**6
    expected = torch.zeros(2, len(priors), 3)
    taken = torch.zeros_like(metric, dtype=torch.bool)
    taken.scatter_(0, metric.topk(10, 0).indices, True)
    taken &= metric > 0
    both = taken.all(1)
    taken[both] = overlaps[both] == overlaps[both].amax(1, keepdim=True)
    for truth, label in enumerate((0, 2)):
        m, o = metric[taken[:, truth], truth], overlaps[taken[:, truth], truth]
        expected[0, taken[:, truth], label] = m / (m.max() + 1e-9) * o.max()
    torch.testing.assert_close(seen['targets'], expected.view(-1, 3))
    assert seen['total'] == pytest.approx(max(float(expected.sum()), 1), rel=1e-5)


@pytest.mark.parametrize('samples', [[sample(), sample()], [BOXES, sample()]])
def test_yolo11_head_images_without_objects_train(network, samples):
    network.train()
    losses = network.loss(images(), samples)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    gradients = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
    assert all(g is not None and g.isfinite().all() for g in gradients.values())
    if not len(samples[0].gt_instances):
        assert losses['loss_bbox'] == 0 == losses['loss_dfl']
        # Nothing to find: the sum over cells and classes of -log(1 - p), by the least divisor.
        scores, _ = network(images(), mode='tensor')
        logits = torch.cat([s.flatten() for s in scores])
        expected = 0.5 * torch.nn.functional.softplus(logits).sum()
        torch.testing.assert_close(losses['loss_cls'], expected)


def test_yolo11_head_corner_and_flat_objects_train(network):
    flat = sample([[0, 0, 3, 3], [10, 10, 90, 10], [-5, -5, 200, 200]], [0, 1, 2])
    losses = network.loss(images(count=1), [flat])
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad.isfinite().all() for p in network.parameters() if p.requires_grad)


def test_yolo11_head_distances_beyond_last_bin_are_clamped(network):
    """One bin is always left above a target, for the part that does not fall on the bin below."""
    aims = []

    class Spy(nn.Module):
        def forward(self, pred, target, weight, avg_factor):
            aims.append(target)
            return pred.sum()

    network.bbox_head.loss_dfl = Spy()
    network.loss(images(count=1), [sample([[-900, -900, 900, 900]], [0])])
    assert aims[0].numel() == 40 and (aims[0] - 14.99).abs().max() < 1e-5


def test_yolo11_head_many_classes_share_100_channels(build):
    with torch.device('meta'):
        head = build('n', 365).bbox_head
    assert {branch[-1].in_channels for branch in head.class_branches} == {100}


def test_yolo11_head_loss_under_autocast_computes_in_float32(network):
    with torch.no_grad():
        scores, boxes = network(images(), mode='tensor')
        half = [[level.bfloat16() for level in levels] for levels in (scores, boxes)]
        wide = [[level.float() for level in levels] for levels in half]
        truth = [BOXES.gt_instances, sample().gt_instances]
        expected = network.bbox_head.loss_by_feat(*wide, truth, [])
        with torch.autocast('cpu', torch.bfloat16):
            losses = network.bbox_head.loss_by_feat(*half, truth, [])
    for name, value in losses.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected[name])


@torch.no_grad()
def test_yolo11_head_boxes_of_bfloat16_logits_are_not_rounded(network):
    # Far from the corner of the image: bfloat16 holds only multiples of 8 beyond 1024 pixels.
    generator = torch.Generator().manual_seed(0)
    sizes = [(2, 160), (1, 80), (1, 40)]
    boxes = [torch.randn(1, 64, *size, generator=generator).bfloat16() for size in sizes]
    scores = [torch.full((1, 3, *size), -20.0).bfloat16() for size in sizes]
    scores[0][0, 1, 1, 151] = 5.0
    metas = [dict(img_shape=(32, 1280), ori_shape=(32, 1280), scale_factor=(1.0, 1.0))]
    head, wide = network.bbox_head, [level.float() for level in boxes]
    assert torch.equal(head.decode(boxes), head.decode(wide))
    (found,) = head.predict_by_feat(scores, boxes, batch_img_metas=metas)
    box = head.decode(wide)[0, 160 + 151].clamp(min=0).minimum(torch.tensor([1280.0, 32, 1280, 32]))
    torch.testing.assert_close(found.bboxes, box[None])
    assert found.scores.item() == pytest.approx(torch.tensor(5.0).sigmoid().item())


def test_yolo11_head_overfits_one_batch(network):
    network.train()
    optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], 2e-3)
    values = []
    for _ in range(30):
        losses = network.loss(images(), [BOXES, sample()])
        optimiser.zero_grad()
        sum(losses.values()).backward()
        optimiser.step()
        values.append({name: float(loss) for name, loss in losses.items()})
    for name, last in values[-1].items():
        assert last < 0.4 * values[0][name], name


def test_yolo11_head_unknown_scale_is_rejected(build):
    with pytest.raises(UserError, match="scale='xl': expected a size of YOLO11: n, s, m, l, x"):
        from mmkd.models.yolo11 import YOLO11Backbone

        YOLO11Backbone('xl')
    with pytest.raises(UserError, match=r"scale=\['n'\]: expected a size of YOLO11: n, s, m, l, x"):
        YOLO11Backbone(['n'])


def test_yolo11_head_decode_uses_fixed_bins(network):
    assert not network.bbox_head.bins.requires_grad
    level = torch.full((1, 64, 1, 1), -math.inf)
    level.view(4, 16)[torch.arange(4), torch.tensor([0, 15, 3, 1])] = 0.0  # all mass on one bin
    # A cell of stride 8 centred at (4, 4), sides at 0, 15, 3 and 1 strides from it.
    empty = torch.zeros(1, 64, 0, 0)
    assert network.bbox_head.decode((level, empty, empty)).tolist() == [[[4, 4 - 120, 28, 12]]]


ONE_OF_TWO = """
import pickle
import sys

import torch
import torch.distributed as dist

rank, folder = int(sys.argv[1]), sys.argv[2]
with open(f'{folder}/given.pkl', 'rb') as file:
    head, outputs, truth = pickle.load(file)
dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
own = [tuple(level[rank : rank + 1] for level in levels) for levels in outputs]
with torch.no_grad():
    torch.save(head.loss_by_feat(*own, truth[rank : rank + 1], []), f'{folder}/{rank}.pth')
dist.destroy_process_group()
"""


@torch.no_grad()
def test_yolo11_head_processes_share_one_normaliser(build, tmp_path):
    """Two processes with an image each: the mean of their losses is one process's loss of both."""
    network = build('n', 3).eval()
    head, outputs = network.bbox_head, network(images(), mode='tensor')
    few, many = [[8, 8, 50, 60]], [[8 * i, 4 * i, 8 * i + 30, 4 * i + 25] for i in range(8)]
    truth = [sample(boxes, [0] * len(boxes)).gt_instances for boxes in (few, many)]
    expected = head.loss_by_feat(*outputs, truth, [])
    # Not forked: OpenMP's threads do not survive in a fork of a process that has used them.
    (tmp_path / 'given.pkl').write_bytes(pickle.dumps((head, outputs, truth)))
    commands = [[sys.executable, '-c', ONE_OF_TWO, str(rank), tmp_path] for rank in range(2)]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    losses = [torch.load(tmp_path / f'{rank}.pth', weights_only=True) for rank in range(2)]
    for name, value in expected.items():
        torch.testing.assert_close((losses[0][name] + losses[1][name]) / 2, value)
