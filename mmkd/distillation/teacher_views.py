"""What a teacher yields for fixed views of the training images, kept in a folder.

Many trainings read the same few values of one frozen teacher. Where every image has a fixed number
of augmented views, they can be computed once. A view is known by its pixels: a hash of the image
that the data loader yields. So a changed image, pipeline or number of views is noticed.

The folder holds ``views.json``, the hashes (``pixels.npy``) and one array for each thing that a
term reads, by row of the hashes.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mmkd.checkpoints.atomic_files import write_atomically
from mmkd.distillation.recording import Recording
from mmkd.distillation.tap import Tap, parse_tap
from mmkd.errors import UserError, one_line
from mmkd.ops.attention import TeacherMap

_INDEX = 'views.json'
_PIXELS = 'pixels.npy'


@dataclass(frozen=True)
class Target:
    """One thing that a term reads of the teacher: a tapped feature, or an attention map of it."""

    tap: Tap
    loss: nn.Module | None = None
    """The loss whose ``teacher_map`` takes the place of the feature."""
    size: tuple[int, int] | None = None
    """Height and width of that map."""
    made_by: str = ''
    """The loss's class and arguments."""

    @property
    def name(self) -> str:
        """The key of the target, which two equal ones share."""
        if self.loss is None:
            return str(self.tap)
        return f'{self.tap}, {self.size[0]}x{self.size[1]}, {self.made_by}'

    def of(self, recording: Recording) -> Tensor:
        """Return the target (B, ...) of what the teacher's pass recorded."""
        feature = recording[self.tap]
        return feature if self.loss is None else self.loss.teacher_map(feature, self.size).tensor


def hash_pixels(image: Tensor) -> bytes:
    """Return eight bytes that tell images apart, given one as the data loader yields it."""
    pixels = image.detach().cpu().contiguous()
    digest = hashlib.blake2b(str((tuple(pixels.shape), pixels.dtype)).encode(), digest_size=8)
    digest.update(pixels.numpy().data)
    return digest.digest()


class TeacherViews:
    """The views in a folder, to read.

    Args:
        folder: What :class:`ViewsWriter` has written.

    Raises:
        UserError: The folder does not hold views, or a file in it is damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            facts = json.loads((self.folder / _INDEX).read_text())
            self.made_of: dict[str, str] = facts['made_of']
            self.size: tuple[int, int] | None = facts['size'] and tuple(facts['size'])
            self.sizes = {parse_tap(tap): tuple(size) for tap, size in facts['features'].items()}
            self.files: dict[str, str] = facts['targets']
            pixels = np.load(self.folder / _PIXELS, allow_pickle=False)
            self._arrays = {
                name: np.load(self.folder / Path(file).name, mmap_mode='r', allow_pickle=False)
                for name, file in self.files.items()
            }
        except FileNotFoundError as error:
            raise UserError(
                f'{self.folder}: expected a folder of mmkd ablate --teacher-views: '
                f'{Path(error.filename).name} is missing'
            ) from None
        except (ValueError, KeyError, TypeError, AttributeError, EOFError, OSError) as error:
            raise UserError(f'{self.folder} is damaged: {error}; remove the folder') from None
        self.pixels = [row.tobytes() for row in pixels]
        """The hash of each view."""
        self._rows = {key: row for row, key in enumerate(self.pixels)}
        for name, array in self._arrays.items():
            if len(array) != len(self.pixels):
                raise UserError(
                    f'{self.folder}: {self.files[name]} has {len(array)} rows: expected '
                    f'{len(self.pixels)}; remove the folder'
                )

    def check(self, made_of: Mapping[str, str], taps: Iterable[Tap] = ()) -> None:
        """Check that the views are those of a training.

        Args:
            made_of: A hash of each part of the training that the views depend on, by name.
            taps: Of the teacher, which its terms read.

        Raises:
            UserError: A part changed, or a tap is missing.
        """
        changed = [name for name in made_of if self.made_of.get(name) != made_of[name]]
        if changed:
            raise UserError(
                f'{self.folder} holds what another training read: expected the same '
                f'{", ".join(changed)}; remove the folder, or undo the change'
            )
        for tap in taps:
            if tap not in self.sizes:
                raise self._missing(str(tap))

    def row(self, image: Tensor) -> int:
        """Return the number of the view that an image (3, H, W) of the data loader is.

        Raises:
            UserError: It is none of them.
        """
        row = self._rows.get(hash_pixels(image))
        if row is None:
            raise UserError(
                f'{self.folder}: an image of this training is not among its {len(self.pixels)} '
                'views: expected the same images and augmentations; remove the folder, so that '
                'mmkd ablate --teacher-views makes it again'
            )
        return row

    def read(
        self, targets: Iterable[Target], rows: Sequence[int], device: torch.device
    ) -> dict[Tap, Tensor | TeacherMap]:
        """Return the targets of a batch, by tap, as a recording would.

        Args:
            targets: Of one term.
            rows: Number of each image's view.
            device: Where the tensors go.

        Raises:
            UserError: A target is missing.
        """
        found = {}
        for target in targets:
            if target.name not in self._arrays:
                raise self._missing(target.name)
            kept = torch.from_numpy(self._arrays[target.name][list(rows)]).to(device)
            found[target.tap] = kept if target.loss is None else TeacherMap(kept)
        return found

    def _missing(self, target: str) -> UserError:
        return UserError(
            f'{self.folder}: expected {target}, which a term reads; run mmkd ablate '
            '--teacher-views again, which adds it'
        )


class ViewsWriter:
    """Write a folder of views, or add targets to one.

    Nothing that was there changes before :meth:`finish`.

    Args:
        folder: The folder.
        made_of: As in :meth:`TeacherViews.check`.
        pixels: The hash of each view.
        size: Height and width to which every batch is padded; None for images of one size.
        sizes: Height and width of the teacher's features, by tap.
        first: The targets of the first batch, by name, which tell the shapes.

    Raises:
        UserError: The disk does not have the space, or the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        made_of: Mapping[str, str],
        pixels: Sequence[bytes],
        size: tuple[int, int] | None,
        sizes: Mapping[Tap, tuple[int, int]],
        first: Mapping[str, Tensor],
    ) -> None:
        self.folder, self._pixels = folder, pixels
        features = {str(tap): list(feature) for tap, feature in sizes.items()}
        self._facts = dict(made_of=dict(made_of), size=size, features=features)
        self.bytes = len(pixels) * sum(4 * x[0].numel() for x in first.values())
        self._files = {
            name: hashlib.sha256(name.encode()).hexdigest()[:16] + '.npy' for name in first
        }
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)
            for file in folder.glob('.*.npy'):  # of a run that was interrupted
                file.unlink()
        free = shutil.disk_usage(folder).free
        if self.bytes > free:
            raise UserError(
                f'{folder}: {self.bytes / 1e6:.0f} MB of teacher views: expected as much free '
                f'space, found {free / 1e6:.0f} MB; free some, or take fewer views'
            )
        for name, file in self._files.items():
            shape = (len(pixels), *first[name].shape[1:])
            header = dict(descr='<f4', fortran_order=False, shape=shape)
            with self._writing(), open(folder / f'.{file}', 'wb') as opened:
                np.lib.format.write_array_header_1_0(opened, header)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f'{self.folder}: {one_line(error)}; free some space') from None

    def add(self, targets: Mapping[str, Tensor]) -> None:
        """Add the targets, by name, of the next views.

        Raises:
            UserError: They cannot be written.
        """
        for name, x in targets.items():
            with self._writing(), open(self.folder / f'.{self._files[name]}', 'ab') as file:
                file.write(x.float().cpu().numpy().astype('<f4').tobytes())

    def finish(self, earlier: TeacherViews | None = None) -> None:
        """Give the files their names, the index last.

        Args:
            earlier: What the folder holds already.

        Raises:
            UserError: They cannot be written.
        """
        with self._writing():
            for file in self._files.values():
                (self.folder / f'.{file}').replace(self.folder / file)
            self._facts['targets'] = self._files
            if earlier is None:
                pixels = BytesIO()
                hashes = np.frombuffer(b''.join(self._pixels), np.uint8)
                np.save(pixels, hashes.reshape(-1, 8), allow_pickle=False)
                write_atomically(self.folder / _PIXELS, pixels.getvalue())
            else:
                kept = {str(tap): list(size) for tap, size in earlier.sizes.items()}
                self._facts['features'] = kept | self._facts['features']
                self._facts['targets'] = earlier.files | self._files
            index = json.dumps(self._facts, indent=1) + '\n'
            write_atomically(self.folder / _INDEX, index.encode())
