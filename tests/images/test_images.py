"""Pictures: deterministic conversions, refusal of what is damaged or hostile, exact round trips."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from jinv.errors import StorageError, UnsafeInputError, UsageError
from jinv.images.codec import (
    decode_image,
    fit_image,
    grid_image,
    grid_png,
    jpeg_bytes,
    png_bytes,
    read_image,
    resize_image,
)
from jinv.images.folder import open_image_folder

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_png_round_trip_is_exact_and_reproducible(tmp_path):
    (tmp_path / "a.png").write_bytes(png_bytes(PIXELS))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), PIXELS)
    assert png_bytes(PIXELS) == png_bytes(PIXELS)


def test_grey_palette_and_bilevel_become_rgb():
    grey = Image.fromarray(PIXELS[..., 0])
    np.testing.assert_array_equal(decode_image(encoded(grey), "grey"), np.repeat(PIXELS[..., :1], 3, axis=2))
    palette = Image.fromarray(PIXELS).quantize(4)
    np.testing.assert_array_equal(decode_image(encoded(palette), "palette"), np.array(palette.convert("RGB")))
    assert set(np.unique(decode_image(encoded(grey.convert("1")), "bilevel"))) <= {0, 255}


def test_sixteen_bit_grey_is_scaled_and_rounded():
    values = np.array([[0, 128, 129, 257], [65535, 32768, 385, 386]], np.uint16)
    expected = np.rint(values / 257).astype(np.uint8)
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(values)), "deep")[..., 0], expected)


def test_transparency_is_composited_over_white():
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = [0, 255, 128]
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(rgba)), "rgba")[0, :, 0], [255, 0, 127])
    palette = Image.fromarray(np.zeros((2, 2), np.uint8)).convert("P")
    np.testing.assert_array_equal(decode_image(encoded(palette, transparency=0), "transparent palette"), 255)


def test_cmyk_is_converted():
    red = np.broadcast_to(np.array([0, 255, 255, 0], np.uint8), (8, 8, 4))
    pixels = decode_image(encoded(Image.fromarray(red, "CMYK"), "JPEG"), "cmyk")
    assert np.abs(pixels[0, 0].astype(int) - [255, 0, 0]).max() < 8


def test_exif_rotation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: shown rotated by 90 degrees clockwise
    turned = decode_image(encoded(Image.fromarray(PIXELS), exif=exif), "turned")
    np.testing.assert_array_equal(turned, np.rot90(PIXELS, -1))


def test_an_animation_gives_its_first_frame():
    frames = [Image.fromarray(np.full((4, 4), v, np.uint8)) for v in (10, 200)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert np.unique(decode_image(data, "animation")).tolist() == [10]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP"])
@pytest.mark.parametrize("kept", [0.0, 0.2, 0.7])
def test_truncated_files_are_refused(kind, kept):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    with pytest.raises(UnsafeInputError, match="broken"):
        decode_image(data[: int(len(data) * kept)], "broken")


@pytest.mark.parametrize("kind", ["TIFF", "EPS", "PPM", "ICO"])
def test_other_formats_are_refused_whatever_their_name(tmp_path, kind):
    (tmp_path / "x.png").write_bytes(encoded(Image.fromarray(np.zeros((16, 16, 3), np.uint8)), kind))
    with pytest.raises(UnsafeInputError, match="x.png"):
        read_image(tmp_path / "x.png")


def test_a_pixel_bomb_is_refused_by_its_header():
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    for width, height in [(30_000, 30_000), (9_000, 9_000), (100_000_000, 1)]:
        header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
        data = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
        with pytest.raises(UnsafeInputError, match="bomb"):
            decode_image(data, "bomb")


def test_missing_files_and_folders_are_storage_errors(tmp_path):
    for path in (tmp_path / "none.png", tmp_path):
        with pytest.raises(StorageError):
            read_image(path)
    with pytest.raises(StorageError):
        open_image_folder(tmp_path / "none")


def test_resize_keeps_constants_and_the_same_size():
    np.testing.assert_array_equal(resize_image(PIXELS, (5, 7)), PIXELS)
    constant = np.full((10, 6, 3), 77, np.uint8)
    resized = resize_image(constant, (3, 8))
    assert resized.shape == (3, 8, 3) and (resized == 77).all()


def test_fit_crops_the_centre_and_keeps_the_aspect():
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 200
    np.testing.assert_array_equal(fit_image(image, (10, 10)), np.full((10, 10, 3), 200, np.uint8))
    assert fit_image(image, (33, 17)).shape == (33, 17, 3)
    assert fit_image(np.zeros((1, 1, 3), np.uint8), (4, 4)).shape == (4, 4, 3)
    with pytest.raises(UsageError, match="too narrow"):
        fit_image(np.zeros((1, 100_000, 3), np.uint8), (224, 224))


def test_grid_has_every_image_in_reading_order():
    images = np.stack([np.full((4, 6, 3), v, np.uint8) for v in (10, 20, 30)])
    grid = grid_image(images, columns=2, gap=1)
    assert grid.shape == (11, 15, 3)
    assert [grid[2, 3, 0], grid[2, 10, 0], grid[7, 3, 0], grid[7, 10, 0], grid[0, 0, 0]] == [10, 20, 30, 255, 255]
    np.testing.assert_array_equal(decode_image(grid_png(images, columns=2), "grid")[2:6, 2:8], images[0])


def test_encoders_refuse_floats():
    with pytest.raises(ValueError, match="float64"):
        png_bytes(np.zeros((2, 2, 3)))
    with pytest.raises(ValueError, match="expected"):
        grid_image(np.zeros((0, 2, 2, 3), np.uint8))
    assert np.abs(decode_image(jpeg_bytes(np.full((8, 8, 3), 99, np.uint8)), "j").astype(int) - 99).max() <= 1


@pytest.fixture
def folder(tmp_path):
    for name in ("dog/b.png", "dog/a.JPG", "cat/c.png", "top.png", ".hidden/x.png", "dog/.DS_Store", "dog/Thumbs.db"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png_bytes(PIXELS))
    (tmp_path / "images" / "dog" / "loop").symlink_to(tmp_path / "images")
    return tmp_path / "images"


def test_folder_and_zip_list_the_same_images(folder, tmp_path):
    listed = open_image_folder(folder)
    assert listed.names == ("cat/c.png", "dog/a.JPG", "dog/b.png", "top.png")
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        for path in folder.rglob("*"):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
        archive.writestr("__MACOSX/dog/._b.png", b"")
    zipped = open_image_folder(tmp_path / "images.zip")
    assert zipped.names == listed.names
    for (_, a), (_, b) in zip(listed.read(), zipped.read(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_links_to_class_folders_are_followed_and_loops_are_not(folder, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "d.png").write_bytes(png_bytes(PIXELS))
    (folder / "ship").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    assert open_image_folder(folder).names == ("cat/c.png", "dog/a.JPG", "dog/b.png", "ship/d.png", "top.png")


def test_empty_folders_and_broken_zips_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no images"):
        open_image_folder(tmp_path / "empty")
    (tmp_path / "no.zip").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(UnsafeInputError, match="sound zip"):
        open_image_folder(tmp_path / "no.zip")


def test_damage_inside_a_zip_names_the_entry(tmp_path):
    path = tmp_path / "damaged.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/x.png", png_bytes(PIXELS))
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(UnsafeInputError, match="a/x.png"):
        list(open_image_folder(path).read())
