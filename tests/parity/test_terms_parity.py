"""Every term, in value and image gradient, equals torch's on real networks; the thesis' listing replayed step by step."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from jinv.core import synthesis
from jinv.core.augment import AUGMENTATIONS, Augmentation
from jinv.core.objective import TERMS, Term, evaluate_terms
from jinv.core.optimizers import adam
from jinv.core.step import Stage, step_keys
from jinv.core.types import Forward
from jinv.models.registry import ARCHITECTURES
from jinv_convert.reference import make_reference
from tests.core import torch_terms

from .torch_oracle import LABELS, embedded_state_dict, flax_variables, random_image, relative_error


class Statistics:
    """The inputs of every batch-norm layer of one forward pass, in order."""

    def __init__(self, module):
        self.inputs = []
        for layer in module.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.register_forward_pre_hook(lambda layer, args: self.inputs.append((layer, args[0])))

    def distances(self, unbiased=True):
        for layer, y in self.inputs:
            mean, var = y.mean([0, 2, 3]), y.permute(1, 0, 2, 3).reshape(y.shape[1], -1).var(1, unbiased=unbiased)
            yield torch.norm(layer.running_mean - mean) + torch.norm(layer.running_var - var)


def real_pair(name, shared_data=None):
    """(torch module, Flax module, variables) with the real weights of `name`."""
    reference = make_reference(name).eval()
    if shared_data is None:
        reference.load_state_dict(embedded_state_dict(name))
    else:
        file = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-4bfd9763.th"}[name]
        tensors = torch.load(shared_data / "checkpoints" / file, map_location="cpu", weights_only=True)["state_dict"]
        reference.load_state_dict({key.removeprefix("module."): value for key, value in tensors.items()}, strict=False)
    for parameter in reference.parameters():
        parameter.requires_grad_(False)
    architecture = ARCHITECTURES[name]
    return reference, architecture.make(architecture.num_classes), flax_variables(name, reference.state_dict())


TORCH_TERMS = {
    "cross_entropy": [({}, lambda x, logits, s: F.cross_entropy(logits, torch.tensor(LABELS)))],
    "total_variation": [
        ({"neighbors": n, "form": f}, lambda x, logits, s, n=n, f=f: torch_terms.total_variation(x, n, f))
        for n, f in ((4, "norm"), (8, "norm"), (4, "l1"), (8, "l1"), (4, "formula_4_1"))
    ],
    "image_norm": [({}, lambda x, logits, s: torch_terms.image_norm(x))],
    "feature_statistics": [
        ({}, lambda x, logits, s: sum(s.distances())),
        (
            {"variance": "biased", "first_layer_weight": 10.0},
            lambda x, logits, s: sum(d * (10 if i == 0 else 1) for i, d in enumerate(s.distances(unbiased=False))),
        ),
    ],
}


FULL = pytest.mark.full


@pytest.mark.parametrize(
    "name",
    [
        "efficientnet_lite0",
        pytest.param("efficientnet_lite1", marks=FULL),
        "resnet20",
        pytest.param("resnet56", marks=FULL),
    ],
)
@pytest.mark.parametrize("size", [112, pytest.param(224, marks=FULL)])
def test_terms_equal_torch_on_real_weights(name, size, request):
    cifar = name.startswith("resnet")
    if cifar and size == 224:
        size = 32  # what these networks are for; 112 stays as the odd size
    reference, module, variables = real_pair(name, request.getfixturevalue("shared_data") if cifar else None)
    image = random_image(size, seed=1)
    statistics = Statistics(reference)
    x = torch.from_numpy(image.transpose(0, 3, 1, 2).copy()).requires_grad_()
    logits = reference(x)

    def values(image, variables):
        logits, norm_stats = module.apply(variables, image)
        result = Forward(image, logits, jnp.asarray(LABELS), norm_stats)
        return [
            evaluate_terms([Term(term, TERMS[term], 1.0, kwargs)], result, 0)[0]
            for term, variants in TORCH_TERMS.items()
            for kwargs, _ in variants
        ]

    ours = jax.jit(values)(image, variables)
    theirs = [oracle(x, logits, statistics) for variants in TORCH_TERMS.values() for _, oracle in variants]
    for our, their in zip(ours, theirs, strict=True):
        assert abs(float(our) - their.item()) <= 2e-4 * abs(their.item()), (float(our), their.item())
    # The gradients that do not go through the network; those that do are held in test_models_float32.py.
    for their, actual in zip(theirs[1:7], gradients_without_network(image), strict=True):
        (expected,) = torch.autograd.grad(their, x, retain_graph=True)
        assert relative_error(actual, expected.numpy().transpose(0, 2, 3, 1)) < 1e-3


@jax.jit
def gradients_without_network(image):
    names = [(term, kwargs) for term in ("total_variation", "image_norm") for kwargs, _ in TORCH_TERMS[term]]
    return [jax.grad(lambda image, t=term, k=kwargs: TERMS[t](image, **k))(image) for term, kwargs in names]


LISTING = {"cross_entropy": 1.0, "total_variation": 1e-3, "image_norm": 1e-5, "feature_statistics": 1e-2}
STEPS = 30


@pytest.mark.parametrize("name", ["resnet20", pytest.param("efficientnet_lite0", marks=pytest.mark.full)])
def test_thirty_steps_of_the_thesis_listing_give_the_same_images(name, request):
    """Adam, clip, roll, flip, TV, L2, statistics and the pooled stage, in float64; torch is fed the draws of our keys."""
    pair = real_pair(name, request.getfixturevalue("shared_data") if name == "resnet20" else None)
    labels = (3, 8) if name == "resnet20" else (207, 933)
    with jax.enable_x64(True):
        start, ours, theirs = replay(name, pair, "float64", 64, 32, labels)
    assert relative_move(start, ours, theirs) < 0.01


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_thirty_steps_in_float32_differ_no_more_than_torch_from_itself(seed, shared_data):
    """The path is chaotic: rounding alone moves torch's own float32 images away from its float64 ones, by the seed."""
    pair = real_pair("resnet20", shared_data)
    with jax.enable_x64(True):
        start, _, exact = replay("resnet20", pair, "float64", 32, 32, (3, 8), seed)
    start, ours, theirs = replay("resnet20", pair, "float32", 32, 32, (3, 8), seed, start=start)
    own = relative_move(start, theirs, exact)
    print(f"seed {seed}: torch float32 from torch float64 {own:.2e}")
    assert relative_move(start, ours, theirs) < max(0.01, 3 * own)


def relative_move(start, ours, theirs):
    move, difference = np.abs(theirs - start).mean(), np.abs(ours - theirs).mean()
    print(f"mean difference {difference / move:.2e} of the mean move {move:.3f}")
    return difference / move


def replay(name, pair, precision, size, stage_size, labels, seed=0, start=None):
    """(start, our images, torch's images) after the listing's steps at the given precision."""
    reference, module, variables = pair
    reference = reference.to(getattr(torch, precision))
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, precision), variables)
    shift = stage_size // 8
    mean, std = ARCHITECTURES[name].mean, ARCHITECTURES[name].std
    ids, run_key = jnp.arange(len(labels), dtype=jnp.uint32), jax.random.key(seed)
    if start is None:
        start = synthesis.initial_noise(run_key, ids, (size, size))
    start = np.asarray(start, precision)

    def forward(variables, image, labels):
        logits, norm_stats = module.apply(variables, image)
        return Forward(image, logits, labels, norm_stats)

    stage = Stage(
        (stage_size, stage_size),
        STEPS,
        [Term(term, TERMS[term], weight) for term, weight in LISTING.items()],
        adam(0.05),  # the published eps, 1e-8, beside a gradient that is a mean over the batch
        augmentations=[
            Augmentation("roll", AUGMENTATIONS["roll"], {"max_shift": shift}),
            Augmentation("flip", AUGMENTATIONS["flip"], {}),
        ],
    )
    snapshots = synthesis.synthesize(
        forward,
        variables,
        jnp.asarray(labels),
        stages=[stage],
        image_size=(size, size),
        seed=seed,
        init=start,
        options=synthesis.Options(bounds=synthesis.clip_bounds(mean, std)),
    )
    ours = np.asarray(list(snapshots)[-1].image)

    inputs = torch.from_numpy(start.transpose(0, 3, 1, 2).copy()).requires_grad_()
    optimizer = torch.optim.Adam([inputs], lr=0.05, betas=(0.9, 0.999), eps=1e-8)
    statistics = Statistics(reference)
    for step in range(STEPS):
        batch_key, _ = step_keys((run_key, ids), step)
        roll_key, flip_key = (jax.random.fold_in(batch_key, zlib.crc32(n) & 0x7FFFFFFF) for n in (b"roll", b"flip"))
        shifts = tuple(int(s) for s in jax.random.randint(roll_key, (2,), -shift, shift + 1, jnp.int32))
        optimizer.zero_grad()
        statistics.inputs.clear()
        view = F.avg_pool2d(inputs, size // stage_size)
        view = torch.roll(view, shifts=shifts, dims=(2, 3))
        if jax.random.uniform(flip_key, (), jnp.float32) < 0.5:
            view = view.flip(3)
        loss = F.cross_entropy(reference(view), torch.tensor(labels)) + 1e-3 * torch_terms.total_variation(view)
        loss = loss + 1e-5 * torch_terms.image_norm(view) + 1e-2 * sum(statistics.distances())
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for channel in range(3):
                inputs[:, channel].clamp_(-mean[channel] / std[channel], (1 - mean[channel]) / std[channel])
    return start, ours, inputs.detach().numpy().transpose(0, 2, 3, 1)
