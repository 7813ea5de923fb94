"""Label maps that Pillow and OpenCV do not write."""

import struct
import zlib
from pathlib import Path

import numpy as np


def write_grey_png(path: Path, label: np.ndarray, bits: int) -> None:
    """Write ids as a grey PNG of few bits a pixel, as some geographic tools do."""
    rows = [''.join(f'{value:0{bits}b}' for value in row) for row in label.tolist()]
    data = b''.join(b'\0' + int(row, 2).to_bytes(len(row) // 8, 'big') for row in rows)
    header = struct.pack('>IIBBBBB', label.shape[1], label.shape[0], bits, 0, 0, 0, 0)
    file = b'\x89PNG\r\n\x1a\n'
    for name, part in ((b'IHDR', header), (b'IDAT', zlib.compress(data)), (b'IEND', b'')):
        check = struct.pack('>I', zlib.crc32(name + part))
        file += struct.pack('>I', len(part)) + name + part + check
    path.write_bytes(file)
