"""torchvision's VGG-11/13/16/19 with batch normalization, and their CIFAR variants."""

import flax.linen as nn
from jax import Array

from jinv.models import ops, pooling
from jinv.models.layers import BatchNorm, Conv, Dense, Stats


class VGG(nn.Module):
    """(N, H, W, 3) -> (logits, statistics); layers are named after their place in torchvision's Sequentials.

    `pooled` is the height and width of what the classifier is given: 7 of ImageNet's, 1 of CIFAR's, which have fewer
    `hidden` features too.
    """

    num_classes: int
    stage_sizes: tuple[int, ...]
    width: int = 64
    hidden: int = 4096
    pooled: int = 7

    @nn.compact
    def __call__(self, image: Array) -> tuple[Array, Stats]:
        stats: Stats = ()
        x, index = image, 0
        for stage, convolutions in enumerate(self.stage_sizes):
            features = self.width * min(2**stage, 8)
            for _ in range(convolutions):
                x = Conv(features, use_bias=True, name=f"features_{index}")(x)
                x, conv_stats = BatchNorm(name=f"features_{index + 1}")(x)
                x, stats, index = nn.relu(x), (*stats, conv_stats), index + 3
            x, index = pooling.max_pool(x, window=2, stride=2), index + 1
        return self.classified(x), stats

    def classified(self, x: Array) -> Array:
        """Logits of the last map."""
        x = pooling.adaptive_average_pool(x, size=self.pooled)
        # torch flattens channels first, and the dense kernel expects that order.
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        x = nn.relu(Dense(self.hidden, name="classifier_0")(x))
        x = nn.relu(Dense(self.hidden, name="classifier_3")(x))
        return Dense(self.num_classes, name="classifier_6")(x)


class LinearVGG(VGG):
    """The same with one linear layer as its classifier, as kuangliu's; of its map, 1x1 at 32 pixels, the mean."""

    def classified(self, x: Array) -> Array:
        """Logits of the last map."""
        return Dense(self.num_classes, name="classifier")(ops.global_average_pool(x))
