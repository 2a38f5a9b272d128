"""Whether a picture can be decoded, and where one that came inside of a row is kept."""

import io
import struct
from typing import BinaryIO

from kg.landing import Landed
from kg.locations import opened
from kg.vectors import content_hash


def is_picture(path: str) -> bool:
    """Whether a picture decodes to its last row."""
    filesystem, plain = opened(path)
    try:
        with filesystem.open_input_file(plain) as stream:
            return picture_format(stream) is not None
    except (OSError, ValueError):
        return False


def picture_format(stream: BinaryIO) -> str | None:
    """The format of a picture, such as `jpeg`; None for what does not decode to its last row."""
    from PIL import Image

    try:
        with Image.open(stream) as image:
            image.draft("RGB", (max(1, image.width // 8), max(1, image.height // 8)))
            image.load()
            return (image.format or "image").lower()
    except (OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError):
        return None


def keep_picture(content: bytes, folder: str) -> str | None:
    """Write a picture under its digest, unless it is there, and give its path; None for what is no picture."""
    digest = content_hash(content)
    kind = picture_format(io.BytesIO(content))
    return keep_file(content, folder, f"{digest[:2]}/{digest}.{kind}") if kind else None


def keep_file(content: bytes, folder: str, name: str) -> str:
    """Write a file below a folder (a path or URI), unless it is there, and give its path or URI."""
    filesystem, plain = opened(folder)
    if not filesystem.get_file_info(f"{plain}/{name}").is_file:
        Landed(filesystem, plain).write(name, content)
    return f"{folder}/{name}"
