"""Run an exported student on images or videos with onnxruntime only: no PyTorch, no mmkd.

The file is one that ``mmkd export`` wrote. Its metadata hold all else that is needed, such as the
colours of the classes.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

IMAGES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
VIDEOS = ('.mp4', '.avi', '.mov', '.mkv', '.webm')


def is_colour(value: object) -> bool:
    """Three numbers."""
    return isinstance(value, list) and len(value) == 3 and all(map(is_number, value))


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= 1e6  # NaN is not


def is_size(value: object) -> bool:
    """Height and width of an image that memory holds."""
    pair = isinstance(value, list) and len(value) == 2
    return pair and all(type(n) is int and n > 0 for n in value) and math.prod(value) <= 2**27


def is_palette(value: object) -> bool:
    """Colours of 8 bits."""
    colours = isinstance(value, list) and all(map(is_colour, value))
    return colours and all(0 <= number <= 255 for colour in value for number in colour)


FACTS = dict(  # what a file's metadata hold, and how each is checked
    task=lambda value: value in ('segmentation', 'detection', 'classification'),
    size=is_size,
    classes=lambda value: (
        value is None or isinstance(value, list) and all(isinstance(name, str) for name in value)
    ),
    palette=lambda value: value is None or is_palette(value),
    mean=is_colour,
    std=lambda value: is_colour(value) and min(value) >= 1e-6,
    rgb=lambda value: isinstance(value, bool),
    pad_value=is_number,
    # How a segmentor makes labels of logits: the least probability of a single class, and whether
    # it resizes from corner to corner.
    threshold=lambda value: value is None or is_number(value) and 0 <= value <= 1,
    align_corners=lambda value: isinstance(value, bool),
    # How a detector chooses among its boxes: the IoU threshold of its non-maximum suppression, and
    # the most boxes of an image.
    nms_iou=lambda value: is_number(value) and 0 <= value <= 1,
    max_boxes=lambda value: value is None or type(value) is int and value >= 1,
    keep_ratio=lambda value: isinstance(value, bool),  # whether images keep their aspect
)
# Where a file does not say, such as one of an earlier release.
ABSENT = dict(threshold=None, align_corners=False, nms_iou=0.6, max_boxes=None)
OPACITY = 0.6  # of the classes' colours over an image


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False, description=__doc__.splitlines()[0])
    parser.add_argument('model', help='ONNX file of mmkd export')
    parser.add_argument('input', help='an image, a folder of images, or a video')
    parser.add_argument('--out', default='predictions', help='folder to write to')
    parser.add_argument(
        '--labels', action='store_true', help='write class ids as PNGs, not overlays'
    )
    parser.add_argument(
        '--batch', type=int, default=1, help='images at once; more than 1 needs export --dynamic'
    )
    parser.add_argument('--score', type=float, default=0.3, help='lowest score of a box')
    parser.add_argument(
        '--iou', type=float, help="IoU threshold of non-maximum suppression (default: the file's)"
    )
    return parser.parse_args()


def parse_facts(text: str, outputs: list[str], path: str) -> dict:
    """The metadata that export.py wrote into a file, checked."""
    try:
        facts = json.loads(text)
    except ValueError:
        facts = None
    if not isinstance(facts, dict):
        raise ValueError(f'{path}: metadata: expected what export.py writes; export it again')
    facts = ABSENT | dict(keep_ratio=facts.get('task') == 'detection') | facts
    for key, fits in FACTS.items():
        if key not in facts or not fits(facts[key]):
            raise ValueError(
                f'{path}: metadata {key}={str(facts.get(key))[:60]!r}: expected what export.py '
                'writes; export it again'
            )
    tasks = dict(
        segmentation=({'labels'}, {'logits'}),
        detection=({'boxes', 'scores'},),
        classification=({'scores'},),
    )
    if set(outputs) not in tasks[facts['task']]:
        raise ValueError(
            f'{path}: metadata task={facts["task"]!r}: expected another for the outputs '
            f'{", ".join(outputs)}; export it again'
        )
    return facts


class Model:
    """An exported network with its preprocessing."""

    def __init__(self, path: str) -> None:
        self.path = path = str(Path(path).expanduser())
        if not Path(path).is_file():
            raise ValueError(
                f'{path} does not exist: expected a file of mmkd export; correct the path'
            )
        providers = onnxruntime.get_available_providers()
        try:
            self.session = onnxruntime.InferenceSession(path, providers=providers)
        except Exception as error:  # onnxruntime's own types, one for each kind of bad file
            reason = ' '.join(str(error).split())[:160]
            raise ValueError(f'{path} cannot be loaded ({reason})') from None
        facts = self.session.get_modelmeta().custom_metadata_map.get('mmkd')
        if facts is None:
            raise ValueError(f'{path}: expected a file of mmkd export; export it again')
        self.outputs = [output.name for output in self.session.get_outputs()]
        self.facts = parse_facts(facts, self.outputs, path)
        if len(self.session.get_inputs()) != 1:
            raise ValueError(f'{path}: expected one input, of images; export it by export.py')
        (self.input,) = self.session.get_inputs()
        self.batches = not isinstance(self.input.shape[0], int)

    def prepare(self, image: np.ndarray) -> tuple[np.ndarray, float, float]:
        """One image (H, W, 3), uint8, BGR, as the network takes it; the scales (x, y) to it.

        An image is stretched to the network's size. A detector's keeps its aspect and is padded at
        its right and bottom, unless it was trained on stretched images.
        """
        height, width = self.facts['size']
        x, y = width / image.shape[1], height / image.shape[0]
        if self.facts['keep_ratio']:
            x = y = min(x, y)
        # Rounded as MMCV does; Python's round takes halves to even numbers.
        size = (max(1, int(image.shape[1] * x + 0.5)), max(1, int(image.shape[0] * y + 0.5)))
        x, y = size[0] / image.shape[1], size[1] / image.shape[0]  # whole pixels were rounded to
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        mean, std = (
            np.float32(self.facts[k])[:: -1 if self.facts['rgb'] else 1] for k in ('mean', 'std')
        )
        padding = mean + std * self.facts['pad_value']
        padded = np.empty((height, width, 3), np.float32)
        padded[:] = padding
        padded[: size[1], : size[0]] = image
        if self.input.type == 'tensor(uint8)':
            return padded.round().astype(np.uint8), x, y
        padded = (padded - mean) / std
        if self.facts['rgb']:
            padded = padded[..., ::-1]
        return np.ascontiguousarray(padded.transpose(2, 0, 1)), x, y

    def __call__(self, images: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """What the network yields of each image, by output, and the ``scale`` (x, y) to it.

        Beside them are the facts that make labels of logits, or choose among boxes.
        """
        prepared = [self.prepare(image) for image in images]
        inputs = np.stack([p[0] for p in prepared])
        try:
            results = self.session.run(None, {self.input.name: inputs})
        except Exception as error:  # onnxruntime's own types
            reason = ' '.join(str(error).split())[:160]
            raise ValueError(
                f'the network does not take {inputs.dtype} images of shape {inputs.shape} '
                f'({reason})'
            ) from None
        known = {key: self.facts[key] for key in ABSENT}
        results = [
            dict(zip(self.outputs, outputs, strict=True), scale=prepared[i][1:], **known)
            for i, outputs in enumerate(zip(*results, strict=True))
        ]
        if 'logits' in self.outputs and len(results[0]['logits']) == 1:
            if self.facts['threshold'] is None:
                raise ValueError(
                    f'{self.path}: metadata threshold=None: expected that of a file with one '
                    'logit a pixel; export it again'
                )
        names, count = self.facts['classes'], max(map(count_classes, results))
        if names is not None and count > len(names):
            raise ValueError(
                f'{self.path}: metadata classes: {len(names)} names for {count} classes or more; '
                'export it again'
            )
        return results


def count_classes(result: dict[str, np.ndarray]) -> int:
    """How many classes a result tells apart, at least."""
    if 'labels' in result:
        return int(result['labels'].max()) + 1
    return len(result['logits']) if 'logits' in result else result['scores'].shape[-1]


def labels_of(result: dict[str, np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Class ids (H, W) at the size of the image: uint8, or uint16 beyond 256 classes."""
    size = (shape[1], shape[0])
    if 'labels' in result:
        labels = result['labels']
        if labels.dtype != np.uint8:
            labels = labels.astype(np.uint16)
        return cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
    if result['align_corners']:
        logits = [resize_between_corners(k, shape) for k in result['logits']]
    else:
        logits = [cv2.resize(k, size, interpolation=cv2.INTER_LINEAR) for k in result['logits']]
    if len(logits) == 1:
        with np.errstate(over='ignore'):
            return (1 / (1 + np.exp(-logits[0])) > result['threshold']).astype(np.uint8)
    return np.argmax(logits, 0).astype(np.uint8 if len(logits) <= 256 else np.uint16)


def resize_between_corners(plane: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """A map (H, W) at another size, interpolated so that its corners stay at the corners."""
    for axis, length in enumerate(shape):
        at = np.linspace(0, plane.shape[axis] - 1, length, dtype=np.float32)
        before = at.astype(int)
        after = np.minimum(before + 1, plane.shape[axis] - 1)
        share = (at - before).reshape(-1, *[1] * (1 - axis))
        plane = plane.take(before, axis) * (1 - share) + plane.take(after, axis) * share
    return plane


def boxes_of(
    result: dict[str, np.ndarray], shape: tuple[int, int], score: float, iou: float | None = None
) -> list[tuple[np.ndarray, float, int]]:
    """Boxes x1 y1 x2 y2 in pixels of the image, scores and classes: one an object, best first.

    ``iou`` is the threshold of the non-maximum suppression, by default that of the file.
    """
    scores = result['scores']
    candidate, label = np.nonzero(scores > score)
    if not len(candidate):
        return []
    scale = np.float32([*result['scale']] * 2)
    boxes = np.clip(result['boxes'][candidate] / scale, 0, np.float32([*shape[::-1]] * 2))
    seen = (boxes[:, 2:] > boxes[:, :2]).all(1)
    boxes, scores, label = boxes[seen], scores[candidate, label][seen], label[seen]
    corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    iou = result['nms_iou'] if iou is None else iou
    kept = cv2.dnn.NMSBoxesBatched(corner_and_size, scores, label, score, iou)
    return [(boxes[i], float(scores[i]), int(label[i])) for i in kept[: result['max_boxes']]]


def palette_of(facts: dict) -> np.ndarray:
    """A BGR colour for each id (65536, 3), uint8; of the colour wheel if the file has none."""
    palette, count = facts['palette'], 2**16
    if not palette:
        hues = (np.arange(count) * 67 % 180).astype(np.uint8)
        wheel = np.stack([hues, np.full_like(hues, 200), np.full_like(hues, 230)], -1)
        return cv2.cvtColor(wheel[None], cv2.COLOR_HSV2BGR)[0]
    table = np.zeros((count, 3), np.uint8)
    table[: len(palette)] = np.uint8(palette)[:, ::-1]
    return table


def draw(
    image: np.ndarray, result: dict, args: argparse.Namespace, facts: dict, palette: np.ndarray
) -> np.ndarray:
    """What is written of one image: labels, or the image under colours, boxes or its class."""
    if facts['task'] == 'segmentation':
        labels = labels_of(result, image.shape[:2])
        if args.labels:
            return labels
        return cv2.addWeighted(palette[labels], OPACITY, image, 1 - OPACITY, 0)
    if facts['task'] == 'classification':
        return under_its_class(image, result['scores'], facts['classes'])
    image = image.copy()
    for box, score, label in boxes_of(result, image.shape[:2], args.score, args.iou):
        x, y = int(box[0]), int(box[1])
        colour = palette[label].tolist()
        cv2.rectangle(image, (x, y), (int(box[2]), int(box[3])), colour, 2)
        name = facts['classes'][label] if facts['classes'] else str(label)
        at = (x + 2, max(y - 4, 12))
        cv2.putText(image, f'{name} {score:.2f}', at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1)
    return image


def under_its_class(image: np.ndarray, scores: np.ndarray, classes: list[str] | None) -> np.ndarray:
    """The image, at least 160 pixels wide, under a bar with the name and score of its class."""
    times = max(1, math.ceil(160 / image.shape[1]))
    image = image.repeat(times, 0).repeat(times, 1)
    label = int(scores.argmax())
    bar = np.full((24, image.shape[1], 3), 255, np.uint8)
    text = f'{classes[label] if classes else label} {scores[label]:.2f}'
    cv2.putText(bar, text, (4, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (30, 30, 30), 1)
    return np.vstack([bar, image])


def find_images(path: Path) -> list[Path]:
    """The file, or the images of the folder that are not hidden."""
    files = [path]
    if path.is_dir():
        found = (file for file in path.iterdir() if file.name[0] != '.')
        files = sorted(file for file in found if file.suffix.lower() in IMAGES)
    if not files or not files[0].is_file():
        raise ValueError(f'{path}: expected an image, a video or a folder of images')
    return files


def check_outputs(files: list[Path], outputs: list[Path]) -> None:
    """Refuse to write over what is read, and twice to one file."""
    taken = {}
    read = {file.resolve() for file in files}
    for file, output in zip(files, outputs, strict=True):
        if output.resolve() in read:
            raise ValueError(f'{output} would be written over the input; give another --out')
        if output in taken:
            raise ValueError(f'{taken[output]} and {file} would both become {output}; rename one')
        taken[output] = file


def open_images(files: list[Path]) -> tuple[Iterator[tuple[str, np.ndarray]], int, float]:
    """Named images of some files, how many there are, and frames a second (0: no video)."""
    path = files[0]
    if path.suffix.lower() in VIDEOS:
        video = cv2.VideoCapture(str(path))
        if not video.isOpened():
            raise ValueError(f'{path} cannot be read as a video')
        return (
            frames_of(video, path.stem),
            int(video.get(cv2.CAP_PROP_FRAME_COUNT)),
            video.get(cv2.CAP_PROP_FPS),
        )
    return ((file.stem, load_image(file)) for file in files), len(files), 0.0


def frames_of(video: cv2.VideoCapture, name: str) -> Iterator[tuple[str, np.ndarray]]:
    number = 0
    while (frame := video.read()[1]) is not None:
        yield f'{name}_{number:06d}', frame
        number += 1


def load_image(path: Path) -> np.ndarray:
    try:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error:  # a header that promises more pixels than OpenCV takes
        image = None
    if image is None:
        raise ValueError(f'{path} cannot be read as an image')
    return image


class Writer:
    """PNGs in a folder, or one video with as many frames a second as the input.

    A file takes its name when it is whole.
    """

    def __init__(self, folder: Path, video: str | None, rate: float) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.rate = folder, rate
        self.path = folder / f'{video}.mp4' if video else folder
        if video and self.path.is_dir():
            raise OSError(f'{self.path} cannot be written')
        self.part = folder / f'.{video}.part.mp4'
        self.video: cv2.VideoWriter | None = None
        self.frames = 0

    def write(self, name: str, picture: np.ndarray) -> None:
        if self.path == self.folder:
            part = self.folder / f'.{name}.part'
            try:
                part.write_bytes(cv2.imencode('.png', picture)[1])
                part.replace(self.folder / f'{name}.png')
            finally:
                part.unlink(missing_ok=True)
            return
        if self.video is None:
            size = (picture.shape[1], picture.shape[0])
            code = cv2.VideoWriter_fourcc(*'mp4v')
            self.video = cv2.VideoWriter(str(self.part), code, self.rate, size)
            if not self.video.isOpened():
                raise OSError(f'{self.path} cannot be written')
        self.video.write(picture)
        self.frames += 1

    def close(self) -> None:
        """Give the video its name, if all that was written can be read."""
        if self.video is None:
            return
        self.video.release()  # OpenCV does not say whether the disk took it
        found = count_frames(self.part)
        if found != self.frames:
            raise OSError(
                f'{self.path}: {found} of {self.frames} frames could be written; is the disk full?'
            )
        self.part.replace(self.path)


def count_frames(path: Path) -> int:
    """Frames of a video that can be read."""
    video, count = cv2.VideoCapture(str(path)), 0
    while video.isOpened() and video.grab():
        count += 1
    video.release()
    return count


def check_whole(path: Path, done: int, total: int) -> None:
    """Say that frames of a video are missing; an error, unless they are a hundredth at most.

    Some containers announce a few frames more than they hold, by rounding their duration.
    """
    if done >= total:
        return
    line = (
        f'{path}: {done} of {total} frames could be read, is the file cut off or damaged? '
        'Those that were read are written'
    )
    if total - done > total * 0.01:
        raise ValueError(line)
    print(f'warning: {line}', file=sys.stderr)


def progress(done: int, total: int, start: float) -> None:
    """One line that is rewritten on a terminal; elsewhere a line every tenth of the way."""
    seconds = time.perf_counter() - start
    rate = done / max(seconds, 1e-9)
    left = f', {(total - done) / rate:.0f} s left' if total > done else ''
    line = f'{done}/{total} images, {rate:.1f} a second{left}'
    if sys.stderr.isatty():
        print(f'\r{line:<60}', end='' if done < total else '\n', file=sys.stderr, flush=True)
    elif done == total or done * 10 // max(total, 1) > (done - 1) * 10 // max(total, 1):
        print(line, file=sys.stderr, flush=True)


def main() -> None:
    args = parse_args()
    for name in ('score', 'iou'):
        value = getattr(args, name)
        if value is not None and not 0 <= value <= 1:  # NaN is neither
            raise ValueError(f'--{name} {value:g}: expected a number from 0 to 1')
    model = Model(args.model)
    if args.batch < 1:
        raise ValueError(f'--batch {args.batch}: expected an integer >= 1')
    if args.batch > 1 and not model.batches:
        raise ValueError(
            f'--batch {args.batch}: expected 1 for {args.model}; export it with --dynamic for more'
        )
    if args.labels and model.facts['task'] != 'segmentation':
        raise ValueError(
            f'--labels: expected a segmentor, but {args.model} is for {model.facts["task"]}; leave '
            'it out'
        )
    path = Path(args.input).expanduser()
    files = find_images(path)
    images, total, rate = open_images(files)
    as_video = rate > 0 and not args.labels
    folder, suffix = Path(args.out).expanduser(), '.mp4' if as_video else '.png'
    written = [folder / f'{file.stem}{suffix}' for file in files]
    one_each = as_video or not rate  # labels of a video are named after its frames
    if one_each:
        check_outputs(files, written)
    writer = Writer(folder, path.stem if as_video else None, rate)
    palette, batch, done, start = palette_of(model.facts), [], 0, time.perf_counter()

    def flush() -> None:
        nonlocal done
        results = model([image for _, image in batch])
        for (name, image), result in zip(batch, results, strict=True):
            writer.write(name, draw(image, result, args, model.facts, palette))
        done += len(batch)
        progress(done, total, start)
        batch.clear()

    try:
        for item in images:
            batch.append(item)
            if len(batch) == args.batch:
                flush()
        if batch:
            flush()
        if not done:
            raise ValueError(f'{path} has no frames')
        writer.close()
    finally:
        writer.part.unlink(missing_ok=True)
    print(written[0] if one_each and len(files) == 1 else folder)
    if rate:
        check_whole(path, done, total)


if __name__ == '__main__':
    try:
        main()
    except (ValueError, OSError, MemoryError, cv2.error) as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(2)
