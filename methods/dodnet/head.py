"""A task-conditioned dynamic head, after DoDNet (Zhang et al., CVPR 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from bench.api import FeatureNet, resize

HEAD_WIDTH = 8


class ConditionalNet(FeatureNet):
    """A network whose last layers are generated, per image and organ.

    A controller sees the image's mean features and the organ's one-hot code, and returns weights
    and biases of three 1x1 convolutions (of 8, 8 and 1 channels), which turn the features into the
    logit of that organ. The publication takes the mean of the encoder's features; here it is that
    of the penultimate ones, so that any network can be the body.

    Parameters
    ----------
    body
        Any network; its own last layer is not used.
    n_organs
        Output channels K.
    """

    def __init__(self, body: FeatureNet, n_organs: int) -> None:
        super().__init__()
        self.body = body
        self.feature_channels = body.feature_channels
        shapes = [(HEAD_WIDTH, self.feature_channels), (HEAD_WIDTH, HEAD_WIDTH), (1, HEAD_WIDTH)]
        self._shapes = shapes
        self._sizes = [size for out, into in shapes for size in (out * into, out)]
        self.controller = nn.Linear(self.feature_channels + n_organs, sum(self._sizes))
        self.bias = nn.Parameter(torch.zeros(n_organs))
        self.register_buffer("code_KK", torch.eye(n_organs), persistent=False)

    @override
    def features(self, image_BCHW: Tensor) -> Tensor:
        return resize(self.body.features(image_BCHW), image_BCHW.shape[2:])

    @override
    def classify(self, features_BCHW: Tensor) -> Tensor:
        B, C, *axes = features_BCHW.shape
        x_BCN = features_BCHW.flatten(2)
        code_KK = self.get_buffer("code_KK")
        K = len(code_KK)
        task_BKD = torch.cat(
            [
                x_BCN.mean(dim=2)[:, None].expand(B, K, C),
                code_KK.to(x_BCN.dtype)[None].expand(B, K, K),
            ],
            dim=2,
        )
        weight_1, bias_1, weight_2, bias_2, weight_3, bias_3 = self.controller(task_BKD).split(
            self._sizes, dim=2
        )
        x_BKCN = x_BCN[:, None]
        for weight, bias, shape in (
            (weight_1, bias_1, self._shapes[0]),
            (weight_2, bias_2, self._shapes[1]),
        ):
            x_BKCN = (weight.unflatten(2, shape) @ x_BKCN + bias[..., None]).relu()
        logits_BK1N = weight_3.unflatten(2, self._shapes[2]) @ x_BKCN + bias_3[..., None]
        logits_BKN = logits_BK1N.squeeze(2) + self.bias[:, None]
        logits_BKHW: Tensor = logits_BKN.unflatten(2, axes)
        return logits_BKHW

    @property
    def output_bias(self) -> nn.Parameter:
        """A bias added to the generated logits, shape [K]."""
        return self.bias

    @property
    @override
    def bottleneck(self) -> nn.Module:
        return self.body.bottleneck
