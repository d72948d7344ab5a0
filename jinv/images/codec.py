"""Pictures in and out: safe reading, resizing, grids, PNG bytes. Pixels are uint8 (height, width, 3), sRGB.

How other kinds of files become those pixels, always the same way: EXIF rotation is applied, where it can be read; palettes are looked up;
grey is repeated three times; 16-bit grey is scaled to 8 bits and rounded, 16-bit colour keeps its high byte; CMYK is
converted without a profile, and colour profiles are ignored; transparency is composited over white; of an animation the
first frame is taken.
"""

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from jinv.core.choices import PictureFormat, Size
from jinv.errors import StorageError, UnsafeInputError, UsageError

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")
"""What a file may contain, whatever it is called; decoders of TIFF, EPS and the like were not made for strangers."""

MAXIMUM_PIXELS = 64_000_000
MAXIMUM_BYTES = 256_000_000

FREE_PIXELS = 16_000_000
PIXELS_PER_BYTE = 300
"""Beyond `FREE_PIXELS` a file has to hold bytes for its pixels. Photographs have 4 to 20 per byte, scans of text up to 200,
a picture of one colour ten thousand: files of nothing would take minutes to decode."""

JPEG_QUALITY = 95
"""Of pictures that are trained on, where no other is asked for."""

PNG = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 0x0112
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF's orientation, what makes a picture upright; anything else is upright."""


def read_image(path: str | Path) -> np.ndarray:
    """The picture in a file, uint8 (height, width, 3).

    Raises:
      StorageError: the file is missing or cannot be read.
      UnsafeInputError: it is no picture of `FORMATS`, is damaged or truncated, or is too large.
    """
    return decode_image(read_picture_file(path), str(path))


def read_picture_file(path: str | Path) -> bytes:
    """The bytes of a picture's file.

    Raises:
      StorageError: the file is missing or cannot be read. UnsafeInputError: it is too large.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise StorageError(f"{path}: {'is not a file' if path.exists() else 'no such file'}")
        if path.stat().st_size > MAXIMUM_BYTES:
            raise UnsafeInputError(f"{path}: {path.stat().st_size} bytes, a picture may have {MAXIMUM_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error


def decode_image(data: bytes, name: str) -> np.ndarray:
    """The picture in `data`, uint8 (height, width, 3); `name` is for messages.

    Raises:
      UnsafeInputError: as `read_image`.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns about large pictures and odd metadata; we have a limit of our own and read no metadata.
            warnings.simplefilter("ignore")
            try:
                return _decode(io.BytesIO(data), name, len(data))
            except ValueError:
                # Pillow refuses long texts, in which programs keep profiles and histories; pixels need none.
                if (bare := _without_texts(data)) == data:
                    raise
                return _decode(io.BytesIO(bare), name, len(data))
    except UnsafeInputError:
        raise
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # decoders of damaged files raise nearly anything
        unknown = isinstance(error, UnidentifiedImageError)  # which names nothing but the buffer
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        detail = "its bytes are of none of these" if unknown else said
        raise UnsafeInputError(f"{name}: not a readable picture ({', '.join(FORMATS)}): {detail[:200]}") from error


def _decode(file: io.BytesIO, name: str, size: int) -> np.ndarray:
    with Image.open(file, formats=FORMATS) as image:
        # The header alone has been read so far.
        most = min(MAXIMUM_PIXELS, FREE_PIXELS + PIXELS_PER_BYTE * size)
        if image.width * image.height > most:
            of = "" if most == MAXIMUM_PIXELS else f" of {size} bytes"
            raise UnsafeInputError(f"{name}: {image.width}x{image.height} pixels, a picture{of} may have {most}")
        image.load()
        upright = _upright(image)
    if upright.mode.startswith("I") or upright.mode == "F":
        return _grey16(np.asarray(upright), name)
    if "A" in upright.getbands() or "transparency" in upright.info:
        rgba = upright.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        upright = Image.alpha_composite(white, rgba)
    return np.array(upright.convert("RGB"))


def _without_texts(data: bytes) -> bytes:
    """A PNG without the chunks that hold texts; anything else as it is."""
    if not data.startswith(PNG):
        return data
    kept, start = [PNG], len(PNG)
    while start < len(data):
        stop = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] not in (b"tEXt", b"zTXt", b"iTXt"):
            kept.append(data[start:stop])
        start = stop
    return b"".join(kept)


def _upright(image: Image.Image) -> Image.Image:
    """The picture as its EXIF says that it was held. Nothing else is read there: what is wrong in it says nothing of pixels."""
    try:
        method = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception:  # damaged EXIF raises nearly anything
        return image
    return image if method is None else image.transpose(method)


def _grey16(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype.kind not in "iu" or values.min() < 0 or values.max() > 65535:
        raise UnsafeInputError(f"{name}: {values.dtype} grey values outside 0 to 65535")
    grey = np.rint(values.astype(np.float64) / 257).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def resize_image(image: np.ndarray, size: Size) -> np.ndarray:
    """Bicubic resize of uint8 (H, W, 3) to (height, width), antialiased when it shrinks; the aspect may change."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))


def fit_image(image: np.ndarray, size: Size) -> np.ndarray:
    """Bicubic resize that keeps the aspect until the image covers (height, width), then the centre of it."""
    height, width = size
    scale = max(height / image.shape[0], width / image.shape[1])
    covered = (max(height, round(image.shape[0] * scale)), max(width, round(image.shape[1] * scale)))
    if covered[0] * covered[1] > MAXIMUM_PIXELS:
        raise UsageError(f"{image.shape[1]}x{image.shape[0]} pixels: too narrow a picture to fill {width}x{height}")
    image = resize_image(image, covered)
    top, left = (covered[0] - height) // 2, (covered[1] - width) // 2
    return image[top : top + height, left : left + width]


def grid_image(images: np.ndarray | Sequence[np.ndarray], *, columns: int | None = None, gap: int = 2) -> np.ndarray:
    """Equal-sized uint8 images (N, H, W, 3) as one picture, row by row on white; nearly square by default."""
    images = np.asarray(images)
    if images.ndim != 4 or images.dtype != np.uint8 or not len(images):
        raise ValueError(f"images: {images.dtype} {images.shape}, expected uint8 (N, H, W, 3) with N of at least 1")
    number, height, width, channels = images.shape
    columns = min(number, columns or math.ceil(math.sqrt(number * height / width)))
    rows = math.ceil(number / columns)
    grid = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = gap + index // columns * (height + gap), gap + index % columns * (width + gap)
        grid[top : top + height, left : left + width] = image
    return grid


def grid_png(images: np.ndarray | Sequence[np.ndarray], *, columns: int | None = None) -> bytes:
    """`grid_image` as PNG."""
    return png_bytes(grid_image(images, columns=columns))


def png_bytes(image: np.ndarray) -> bytes:
    """uint8 (H, W, 3) as PNG; the same pixels give the same bytes."""
    return _encode(image, "PNG", optimize=False)


def jpeg_bytes(image: np.ndarray, *, quality: int = 92) -> bytes:
    """uint8 (H, W, 3) as JPEG without chroma subsampling, for pages where exact pixels would weigh too much."""
    return _encode(image, "JPEG", quality=quality, subsampling=0)


def picture_bytes(image: np.ndarray, kind: PictureFormat, quality: int | None = None) -> bytes:
    """uint8 (H, W, 3) as PNG, or as JPEG of that quality, by default of `JPEG_QUALITY`."""
    return png_bytes(image) if kind == "png" else jpeg_bytes(image, quality=quality or JPEG_QUALITY)


def _encode(image: np.ndarray, kind: str, **options: int | bool) -> bytes:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"image: {image.dtype} {image.shape}, expected uint8 (H, W, 3)")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()
