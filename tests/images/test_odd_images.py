"""Sound pixels behind odd metadata are read; a few bytes cannot make minutes of work."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from jinv.errors import StorageError, UnsafeInputError, UsageError
from jinv.images import codec
from jinv.images.codec import decode_image, png_bytes, read_image
from jinv.images.folder import open_image_folder
from jinv.weights import labels
from jinv.weights.labels import read_label_file

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)


def tiff(*entries, count=None, end=b"\0\0\0\0"):
    """EXIF with one directory of (tag, type, count, value or offset)."""
    table = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries) if count is None else count) + table + end


ODD = {
    "orientation 0": tiff((0x0112, 3, 1, 0)),
    "orientation 9": tiff((0x0112, 3, 1, 9)),
    "orientation as text": tiff((0x0112, 2, 2, 0x36)),
    "orientation of no values": tiff((0x0112, 3, 0, 0)),
    "orientation as a ratio elsewhere": tiff((0x0112, 5, 1, 4_000_000_000)),
    "a type that is none": tiff((0x0112, 99, 1, 6)),
    "more entries than there are": tiff((0x010F, 2, 10, 5000), count=65535, end=b""),
    "values of gigabytes": tiff((0x010F, 2, 2**32 - 1, 8)),
    "a directory that follows itself": tiff((0x8769, 4, 1, 8), (0x8825, 4, 1, 8), end=struct.pack("<I", 8)),
    "a ratio over nothing": tiff((0x011A, 5, 1, 8), (0x0128, 3, 1, 2)),
    "half a header": b"Exif\0\0II*",
    "no header": b"Exif\0\0" + bytes(range(200)),
    "nothing": b"Exif\0\0",
    "noise": b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xff" * 50,
    "65 kB": tiff((0x927C, 7, 65_000, 26)) + bytes(65_000),
}


def encoded(exif, kind, pixels=PIXELS):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("odd", ODD)
def test_odd_exif_is_no_reason_to_refuse_sound_pixels(kind, odd):
    expected = decode_image(encoded(b"", kind), "plain")
    np.testing.assert_array_equal(decode_image(encoded(ODD[odd], kind), odd), expected)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("odd", [False, True])
def test_every_orientation_is_made_upright(kind, odd):
    shown = {
        1: PIXELS, 2: PIXELS[:, ::-1], 3: PIXELS[::-1, ::-1], 4: PIXELS[::-1], 5: PIXELS.swapaxes(0, 1),
        6: np.rot90(PIXELS, -1), 7: np.rot90(PIXELS[:, ::-1], -1)[:, ::1], 8: np.rot90(PIXELS),
    }  # fmt: skip
    shown[7] = PIXELS[::-1, ::-1].swapaxes(0, 1)
    for number, expected in shown.items():
        others = [(0x010F, 2, 2**31, 8), (0x9999, 77, 1, 0)] if odd else []
        exif = tiff((0x0112, 3, 1, number), *others)
        np.testing.assert_array_equal(decode_image(encoded(exif, kind), str(number)), expected)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_long_texts_are_no_reason_either(kind):
    plain = encoded(b"", "PNG")
    text = zlib.compress(bytes(5_000_000))
    body = kind + (b"Raw profile type exif\0\0" if kind == b"zTXt" else b"XML:com.adobe.xmp\0\1\0\0\0") + text
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    end = plain.index(b"IDAT") - 4
    np.testing.assert_array_equal(decode_image(plain[:end] + chunk + plain[end:], "long"), PIXELS)
    with pytest.raises(UnsafeInputError):
        decode_image((plain[:end] + chunk + plain[end:])[:-30], "cut")


def bomb(height, width):
    """A PNG of one bit per pixel, all black."""
    raw = zlib.compress(bytes((1 + (width + 7) // 8) * height), 9)
    data = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    for name, body in ((b"IHDR", header), (b"IDAT", raw), (b"IEND", b"")):
        data += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return data


def test_a_picture_has_bytes_for_its_pixels_or_is_not_decoded(monkeypatch):
    data = bomb(7900, 7900)
    assert len(data) < 10_000
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(UnsafeInputError, match=f"x.png: 7900x7900 pixels, a picture of {len(data)} bytes may have"):
        decode_image(data, "x.png")


def test_large_pictures_with_content_and_small_ones_without_are_read():
    assert decode_image(bomb(1000, 4000), "x").shape == (1000, 4000, 3)
    noise = np.random.default_rng(0).integers(0, 2, (1, 400, 400), np.uint8)
    page = np.kron(noise[0], np.ones((12, 12), np.uint8)).astype(bool)  # a scan: 4800x4800 of black and white
    buffer = io.BytesIO()
    Image.fromarray(page).save(buffer, "PNG")
    assert decode_image(buffer.getvalue(), "x").shape == (4800, 4800, 3)


@pytest.mark.parametrize("zipped", [False, True])
def test_pictures_of_nothing_are_bounded_together(zipped, tmp_path, monkeypatch):
    monkeypatch.setattr("jinv.images.folder.FREE_PIXELS", 10_000)
    data = bomb(100, 100)
    for number in range(20):
        (tmp_path / f"{number:02d}.png").write_bytes(data)
    path = tmp_path
    if zipped:
        path = tmp_path / "real.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(20):
                archive.write(tmp_path / f"{number:02d}.png", f"{number:02d}.png")
    monkeypatch.setattr(codec, "PIXELS_PER_BYTE", 10)
    monkeypatch.setattr("jinv.images.folder.PIXELS_PER_BYTE", 10)
    read = []
    with pytest.raises(UnsafeInputError, match=f"{path}: its first [0-9]+ images have [0-9]+ pixels"):
        read.extend(name for name, _ in open_image_folder(path).read())
    assert 2 <= len(read) < 6


def test_a_missing_picture_is_still_missing(tmp_path):
    with pytest.raises(StorageError, match="no such file"):
        read_image(tmp_path / "x.png")


def test_a_label_file_has_an_end(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="/dev/zero: more than 8000000 bytes, the limit of a label file"):
        read_label_file("/dev/zero")
    monkeypatch.setattr(labels, "MAXIMUM_BYTES", 10)
    (tmp_path / "ten").write_text("ab\ncd\nef\ng")
    (tmp_path / "eleven").write_text("ab\ncd\nef\ngh")
    assert read_label_file(tmp_path / "ten") == ("ab", "cd", "ef", "g")
    with pytest.raises(UsageError, match="eleven: more than 10 bytes"):
        read_label_file(tmp_path / "eleven")


def test_a_run_is_no_folder_of_images(tmp_path):
    """Its grid would be a picture of no class."""
    for name in ("grid.png", "images/0.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png_bytes(np.zeros((4, 4, 3), np.uint8)))
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match=r"is a run's directory; its images alone are in .*/images"):
        open_image_folder(tmp_path)
    assert open_image_folder(tmp_path / "images").names == ("0.png",)
