"""The twins differ in eps alone: the attack keeps its bounds, they see the same images, their files convert bit for bit."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmarks import robust_twins
from benchmarks.robust_twins import Attack, Images
from benchmarks.robustness_records import Settings, Twin, read_record
from jinv.weights.file import read_converted
from jinv_convert.families.rules import map_state_dict
from jinv_convert.pipeline import convert_checkpoint
from jinv_convert.reference import make_reference

SMALL = Settings(epochs=1, batch=4)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A checkpoint of a ResNet-20 with random weights, as its publisher wraps them."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("start") / "start.th"
    state = {f"module.{name}": value for name, value in make_reference("resnet20").state_dict().items()}
    torch.save({"state_dict": state, "best_prec1": 91.7}, path)
    return path


@pytest.fixture
def network(start):
    return robust_twins.start_network(start)


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    pixels = torch.from_numpy(random.integers(0, 256, (12, 3, 8, 8), dtype=np.uint8))
    return Images(pixels, torch.arange(12) % 10)


def loss_of(network, pixels, labels):
    with torch.no_grad():
        return F.cross_entropy(robust_twins.logits_of(network.eval(), pixels), labels).item()


def test_the_start_has_the_weights_that_torch_reads(start, network):
    expected = torch.load(start, weights_only=True)["state_dict"]
    for name, value in network.state_dict().items():
        assert torch.equal(value, expected[f"module.{name}"]), name
    assert all(p.requires_grad for p in network.parameters())


def test_pixels_are_standardised_by_the_published_mean_and_deviation(network, images):
    pixels = images.pixels.float() / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    by_hand = (pixels - mean[:, None, None]) / std[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(robust_twins.logits_of(network.eval(), pixels), network(by_hand))


@pytest.mark.parametrize("attack", [Attack.single_step(8 / 255, 1.25), Attack.projected(2 / 255)])
def test_an_attack_raises_the_loss_within_its_bounds(network, images, attack):
    pixels = images.pixels.float() / 255
    moved = robust_twins.attacked(network, pixels, images.labels, attack, torch.Generator().manual_seed(0))
    assert moved.min() >= 0 and moved.max() <= 1
    assert 0.9 * attack.eps < (moved - pixels).abs().max() <= attack.eps + 1e-6
    # Random moves of the same size are no attack: the sign of the gradient is what raises the loss.
    random = (pixels + attack.eps * torch.sign(torch.randn(pixels.shape))).clamp(0, 1)
    assert loss_of(network, moved, images.labels) > max(loss_of(network, x, images.labels) for x in (pixels, random))
    assert all(p.grad is None for p in network.parameters())


def test_an_attack_of_no_size_leaves_the_images_alone(network, images):
    pixels = images.pixels.float() / 255
    generator = torch.Generator().manual_seed(0)
    assert robust_twins.attacked(network, pixels, images.labels, Attack.single_step(0, 1.25), generator) is pixels


def test_a_step_lowers_the_loss_of_its_batch(network, images):
    pixels = images.pixels.float() / 255
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    with robust_twins.arithmetic(Settings()):
        losses = [robust_twins.train_step(network, optimizer, pixels, images.labels) for _ in range(3)]
    assert losses[2] < losses[1] < losses[0]


def test_augmented_images_are_shifted_over_black_and_flipped(images):
    chosen = torch.arange(12).repeat(20)
    result = (robust_twins.augmented(images, chosen, torch.Generator().manual_seed(0)) * 255).round().numpy()
    padded = np.pad(images.pixels.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)))
    seen = set()
    for index, picture in zip(chosen.tolist(), result, strict=True):
        places = [
            (top, left, flip)
            for top in range(9)
            for left in range(9)
            for flip in (1, -1)
            if np.array_equal(padded[index][:, top : top + 8, left : left + 8][:, :, ::flip], picture)
        ]
        assert len(places) == 1
        seen.update(places)
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(9))
    assert {flip for *_, flip in seen} == {1, -1}


def test_twins_of_every_eps_see_the_same_images(start, images, monkeypatch):
    def seen_by(eps):
        seen = []
        real = robust_twins.attacked

        def watched(network, pixels, labels, attack, generator):
            seen.append(pixels.clone())
            return real(network, pixels, labels, attack, generator)

        with monkeypatch.context() as patch:
            patch.setattr(robust_twins, "attacked", watched)
            robust_twins.train(robust_twins.start_network(start), images, eps, SMALL)
        return torch.stack(seen)

    assert torch.equal(seen_by(0), seen_by(8 / 255))


def test_a_saved_twin_converts_bit_for_bit(network, images, tmp_path):
    robust_twins.train(network, images, 2 / 255, SMALL)
    state = network.state_dict()
    assert not state["layer3.0.conv1.weight"].is_contiguous()  # what the saved file must not be
    robust_twins.save(network, tmp_path / "eps2.pt")
    loaded = torch.load(tmp_path / "eps2.pt", weights_only=True)
    assert loaded.keys() == state.keys() and all(value.is_contiguous() for value in loaded.values())
    report = convert_checkpoint(tmp_path / "eps2.pt", tmp_path / "eps2.safetensors")
    assert report.architecture == "resnet20" and report.mean == pytest.approx((0.485, 0.456, 0.406))
    targets = map_state_dict("resnet20", {name: tuple(value.shape) for name, value in state.items()})
    arrays, _ = read_converted(tmp_path / "eps2.safetensors")
    assert {target.path for target in targets.values()} == set(arrays)
    for name, target in targets.items():
        np.testing.assert_array_equal(arrays[target.path], state[name].numpy().transpose(target.transpose))


def test_twins_are_measured_written_and_kept(start, images, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(robust_twins, "PGD_STEPS", 1)
    monkeypatch.setattr(robust_twins, "ATTACKED_EVERY", 3)
    robust_twins.make_twins(start, images, images, [0, 4], tmp_path, SMALL)
    twin = read_record(tmp_path / "eps4.json", Twin)
    assert twin.eps_255 == 4 and twin.images == 12 and twin.settings == SMALL and len(twin.epoch_losses) == 1
    assert twin.clean.count == 12 and [(s.eps_255, s.count) for s in twin.pgd20] == [(4, 4), (8, 4)]
    assert twin.start.file == "start.th" and twin.under_attack(8).correct <= 4
    assert "eps4:" in capsys.readouterr().out
    written = (tmp_path / "eps4.pt").stat().st_mtime_ns

    robust_twins.make_twins(start, images, images, [4], tmp_path, SMALL)
    assert (tmp_path / "eps4.pt").stat().st_mtime_ns == written
    other = SMALL.model_copy(update={"seed": 1})
    assert not robust_twins.is_made(tmp_path, "eps4", other, start)
    (tmp_path / "eps0.pt").write_bytes(b"cut off")
    assert not robust_twins.is_made(tmp_path, "eps0", SMALL, start)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--eps", "0", "-1"], "--eps -1: between 0 and 255"),
        (["--epochs", "0"], "--epochs 0: between 1 and 255"),
        ([], "no such folder or zip of images"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments, words, tmp_path, capsys):
    files = ["--start", "start.th", "--data", str(tmp_path / "none.zip"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        robust_twins.main([*files, *arguments])
    assert ended.value.code == 2 and words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
