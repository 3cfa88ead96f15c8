"""Decision rule, and prediction of a volume: slice by slice, or by a window in 3D."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from bench.data.grid import Placement, logits_to_native, native_slices
from bench.data.window import Window
from bench.errors import DivergedError
from bench.nets.device import Precision, autocast, kernels
from bench.nets.protocol import image_channels_last, resize
from bench.nets.views import Affines, mean_logits

if TYPE_CHECKING:
    from bench.nets.confidence import ConfidenceNet
    from bench.nets.protocol import FeatureNet

OVERLAP = 0.25
"""Overlap of neighbouring windows, as a share of their side; the blend has Gaussian weights."""
WINDOWS_AT_ONCE = 2
SURE_BACKGROUND = -20.0
"""Logit beyond a window in the centre."""


def decide(logits_BKHW: Tensor) -> Tensor:
    """Return the label map of logits, uint8 of shape [B, H, W] (specification: Decision).

    The organ with the largest logit where that is at least 0 (probability 0.5), else background;
    of equal logits the lowest organ.
    """
    best_BHW, organ_BHW = logits_BKHW.max(dim=1)
    return torch.where(best_BHW >= 0, organ_BHW + 1, 0).to(torch.uint8)


def predict_volume(
    net: FeatureNet,
    image_SCHW: NDArray[np.float32] | Tensor,
    *,
    device: torch.device | str,
    batch_size: int = 16,
    precision: Precision = "fp32",
    placement: Placement | None = None,
    window: Window | None = None,
    views: Affines | None = None,
    each: Callable[[slice, Tensor], None] = lambda *_: None,
) -> NDArray[np.uint8]:
    """Return the predicted label map of a volume, shape [S, H, W], or [S, X, Y] of a placement.

    Parameters
    ----------
    net
        Segmentation network on ``device``; it is left in the mode it came in.
    image_SCHW
        Axial slices as the network saw them in training, float in [0, 1]. Any height and width:
        slices are padded to a multiple of ``net.divisor``.
    device
        Where to compute.
    batch_size
        Slices per forward pass.
    precision
        ``bf16`` computes the features under autocast; the last convolution is float32 always.
    placement
        Position of the native slices on the training grid: logits are resampled to the native
        slices before the decision.
    window
        The patch size of a 3D network; None for networks of slices.
    views
        Decide by the mean probability of these views; None for the image as it is.
    each
        Called with the rows of every batch and their logits, shape [B, K, H, W], or [B, K, X, Y] of
        a placement.

    Raises
    ------
    DivergedError
        The network returns NaN.
    """
    n_slices, _, *sides = image_SCHW.shape
    size = (n_slices, *sides) if placement is None else placement.native_shape(n_slices)
    label_SHW = np.empty(size, np.uint8)
    with evaluating(net, device=device), torch.inference_mode():
        for rows, logits_BKHW in _native_logits(
            net, image_SCHW, placement, window, device, batch_size, precision, views
        ):
            if placement is not None:
                logits_BKHW = logits_to_native(logits_BKHW, placement)
            label_SHW[rows] = _cropped(decide(logits_BKHW), label_SHW.shape)
            each(rows, logits_BKHW[..., : size[1], : size[2]])
    return label_SHW


def logits_of_slices(
    net: FeatureNet,
    image_SCHW: NDArray[np.float32] | Tensor,
    window: Window | None,
    device: torch.device | str,
    precision: Precision,
    batch_size: int = 16,
) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows of slices and their logits on the device, padded below and on the right.

    Within :func:`evaluating` and :func:`torch.inference_mode`; parameters as in
    :func:`predict_volume`.
    """
    yield from _native_logits(net, image_SCHW, None, window, device, batch_size, precision)


def _native_logits(
    net: FeatureNet,
    image_SCHW: NDArray[np.float32] | Tensor,
    placement: Placement | None,
    window: Window | None,
    device: torch.device | str,
    batch_size: int,
    precision: Precision,
    views: Affines | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows of native slices and their logits on the rows and columns of the grid."""
    if window is None:

        def of_slices(image_BCHW: Tensor) -> Tensor:
            return _logits(net, image_channels_last(image_BCHW), precision)

        for rows, image_BCHW in _batches(image_SCHW, net.divisor, device, batch_size):
            yield rows, _by_views(of_slices, image_BCHW, None, views)
        return

    def of_volume(image_SCHW: Tensor) -> Tensor:
        return _volume_logits(net, image_SCHW, window, device, precision)

    logits_SKHW = _by_views(of_volume, torch.as_tensor(image_SCHW), window, views)
    n_slices = len(image_SCHW) if placement is None else placement.native_shape(len(image_SCHW))[0]
    for rows in _chunks(n_slices, batch_size):
        yield (
            rows,
            logits_SKHW[rows] if placement is None else native_slices(logits_SKHW, placement, rows),
        )


def _by_views(
    logits_of: Callable[[Tensor], Tensor],
    image_BCHW: Tensor,
    window: Window | None,
    views: Affines | None,
) -> Tensor:
    """Return the logits of an image as it is, or of the mean over its views."""
    if views is None:
        return logits_of(image_BCHW)
    return mean_logits(logits_of, image_BCHW, views, seen_in_plane(image_BCHW, window))


def seen_in_plane(image_SCHW: Tensor, window: Window | None) -> Tensor:
    """Return which pixels of the slices a network sees, 1 or 0: [1, 1, H, W], on the device."""
    depth, _, height, width = image_SCHW.shape
    if window is None or window.sampling == "anywhere":
        return image_SCHW.new_ones(1, 1, height, width)
    seen_11HW = image_SCHW.new_zeros(1, 1, height, width)
    _, top, left = window.centre((depth, height, width))
    _, rows, columns = window.patch
    seen_11HW[..., max(top, 0) : top + rows, max(left, 0) : left + columns] = 1
    return seen_11HW


def predict_with_score(
    net: FeatureNet,
    image_SCHW: NDArray[np.float32] | Tensor,
    missing_K: NDArray[np.bool_],
    *,
    confidence: ConfidenceNet | None = None,
    background: bool = True,
    device: torch.device | str,
    batch_size: int = 16,
    precision: Precision = "fp32",
    window: Window | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return the predicted label map of a volume and the confidence in each label.

    Relabelling (:mod:`bench.training.relabelling`) ranks by one value per voxel, so only one of the
    K confidences is kept: at a voxel predicted as organ k that of organ k, at predicted background
    the lowest one among the organs that are not annotated.

    Parameters
    ----------
    net, image_SCHW, device, batch_size, precision, window
        As in :func:`predict_volume`.
    missing_K
        Organs that are not annotated in this volume.
    confidence
        Confidence network of ``net``; ``None`` takes the predicted probability of each decision
        (MCP, maximum class probability; specification: Confidence).
    background
        Predicted background is ranked as well. Slices without anything to rank are not scored.

    Returns
    -------
    pred_SHW, score_SHW
        uint8 labels and float32 confidences in [0, 1], 0 in slices without anything to rank.
    """
    n_slices, _, *sides = image_SCHW.shape
    shape = (n_slices, *sides)
    pred_SHW, score_SHW = np.empty(shape, np.uint8), np.empty(shape, np.float32)
    missing = _organs(missing_K, device)
    with evaluating(net, *filter(None, [confidence]), device=device), torch.inference_mode():
        for rows, logits_BKHW, confidence_of in _logits_and_confidence(
            net, confidence, image_SCHW, window, device, batch_size, precision
        ):
            label_BHW = decide(logits_BKHW)
            ranked_BHW = torch.isin(label_BHW, missing + 1)
            if background:
                ranked_BHW |= label_BHW == 0
            score_BHW = torch.zeros(label_BHW.shape, device=label_BHW.device)
            if len(scored := _to_rank(ranked_BHW)):
                logits_BKHW = logits_BKHW[scored]
                if confidence is None:
                    right = logits_BKHW.sigmoid(), (-logits_BKHW).sigmoid()
                else:
                    right = (confidence_of(scored),) * 2
                score_BHW[scored] = _score(label_BHW[scored], *right, missing)
            pred_SHW[rows] = _cropped(label_BHW, pred_SHW.shape)
            score_SHW[rows] = _cropped(score_BHW, pred_SHW.shape)
    return pred_SHW, score_SHW


def mean_features(
    net: FeatureNet,
    image_SCHW: NDArray[np.float32],
    label_SHW: NDArray[np.uint8],
    n_organs: int,
    *,
    device: torch.device | str,
    batch_size: int = 16,
    precision: Precision = "fp32",
    window: Window | None = None,
) -> NDArray[np.float64]:
    """Return the mean of the last features over the voxels of each organ, [K, C]; NaN without any.

    Parameters
    ----------
    net, image_SCHW, device, batch_size, precision, window
        As in :func:`predict_volume`. Where windows overlap, voxels count in each of them.
    label_SHW
        The organs, 1..K; other values count as none.
    n_organs
        K.
    """
    sums_KC = torch.zeros(n_organs, net.feature_channels, dtype=torch.float64)
    voxels_K1 = torch.zeros(n_organs, 1, dtype=torch.float64)

    def add(both_BCHW: Tensor) -> Tensor:
        image_BCHW, label_BHW = both_BCHW[:, :-1], both_BCHW[:, -1]
        with autocast(image_BCHW.device, precision):
            features_BCHW = net.features(image_channels_last(image_BCHW))
        features_BCHW = resize(features_BCHW.float(), image_BCHW.shape[2:])
        numbers_K1 = torch.arange(1, n_organs + 1, device=label_BHW.device).unsqueeze(1)
        masks_BKN = (label_BHW.flatten(1).unsqueeze(1) == numbers_K1).float()
        sums_KC.add_(torch.einsum("bkn,bcn->kc", masks_BKN, features_BCHW.flatten(2)).cpu())
        voxels_K1.add_(masks_BKN.sum(dim=(0, 2)).unsqueeze(1).cpu())
        return label_BHW.unsqueeze(1)

    both_SCHW = np.concatenate([image_SCHW, label_SHW[:, np.newaxis]], axis=1, dtype=np.float32)
    with evaluating(net, device=device), torch.inference_mode():
        if window is None:
            for _, both_BCHW in _batches(both_SCHW, net.divisor, device, batch_size):
                add(both_BCHW)
        else:
            _windowed(add, both_SCHW, window, device, beyond=0.0)
    return (sums_KC / voxels_K1).numpy()


def _logits_and_confidence(
    net: FeatureNet,
    confidence: ConfidenceNet | None,
    image_SCHW: NDArray[np.float32] | Tensor,
    window: Window | None,
    device: torch.device | str,
    batch_size: int,
    precision: Precision,
) -> Iterator[tuple[slice, Tensor, Callable[[Tensor], Tensor]]]:
    """Yield rows, their logits, and a function that returns their learned confidence."""
    if window is None:
        for rows, image_BCHW in _batches(image_SCHW, net.divisor, device, batch_size):
            logits_BKHW = _logits(net, image_BCHW, precision)

            def of_slices(
                scored: Tensor,
                image_BCHW: Tensor = image_BCHW,
                logits_BKHW: Tensor = logits_BKHW,
            ) -> Tensor:
                assert confidence is not None
                output_BKHW = _confidence_output(confidence, image_BCHW[scored], precision)
                return confidence.combine(output_BKHW, logits_BKHW[scored]).sigmoid()

            yield rows, logits_BKHW, of_slices
        return

    @cache
    def of_volume() -> Tensor:
        assert confidence is not None
        return _windowed(
            lambda patch: _confidence_output(confidence, patch, precision),
            image_SCHW,
            window,
            device,
            beyond=0.0 if confidence.start == "certainty" else SURE_BACKGROUND,
        )

    logits_SKHW = _volume_logits(net, image_SCHW, window, device, precision)
    for rows in _chunks(len(image_SCHW), batch_size):

        def of_rows(scored: Tensor, rows: slice = rows) -> Tensor:
            assert confidence is not None
            output_BKHW, logits_BKHW = of_volume()[rows][scored], logits_SKHW[rows][scored]
            return confidence.combine(output_BKHW, logits_BKHW).sigmoid()

        yield rows, logits_SKHW[rows], of_rows


def _organs(missing_K: NDArray[np.bool_], device: torch.device | str) -> Tensor:
    return torch.from_numpy(np.flatnonzero(missing_K)).to(device)


def _to_rank(ranked_BHW: Tensor) -> Tensor:
    """Return the rows of the slices in which any voxel is ranked."""
    return ranked_BHW.any(dim=2).any(dim=1).nonzero().squeeze(1)


def _score(
    label_BHW: Tensor, positive_BKHW: Tensor, negative_BKHW: Tensor, missing: Tensor
) -> Tensor:
    """Return the confidence in each label, given those in being and in not being each organ."""
    organ_B1HW = (label_BHW.long() - 1).clamp(min=0).unsqueeze(1)
    score_BHW = positive_BKHW.gather(1, organ_B1HW).squeeze(1)
    if len(missing):
        background_BHW = negative_BKHW.index_select(1, missing).amin(dim=1)
        score_BHW = torch.where(label_BHW == 0, background_BHW, score_BHW)
    return score_BHW


def _logits(net: FeatureNet, image_BCHW: Tensor, precision: Precision) -> Tensor:
    with autocast(image_BCHW.device, precision):
        features_BCHW = net.features(image_BCHW)
    # Rounding logits to bf16 would make large ties between voxels that relabelling has to rank.
    return _checked(net.classify(features_BCHW.float()))


def _confidence_output(net: ConfidenceNet, image_BCHW: Tensor, precision: Precision) -> Tensor:
    with autocast(image_BCHW.device, precision):
        hidden_BCHW = net.hidden(image_BCHW)
    return _checked(net.classify(hidden_BCHW.float(), image_BCHW.shape[2:]))


def _checked(logits_BKHW: Tensor) -> Tensor:
    if torch.isnan(logits_BKHW).any():
        raise DivergedError("the network's output is not a number: its training diverged, lower lr")
    return logits_BKHW


def _batches(
    image_SCHW: NDArray[np.float32] | Tensor, divisor: int, device: torch.device | str, size: int
) -> Iterator[tuple[slice, Tensor]]:
    image = torch.as_tensor(image_SCHW)
    *_, height, width = image.shape
    padding = (0, -width % divisor, 0, -height % divisor)
    for rows in _chunks(len(image), size):
        batch_BCHW = image[rows].to(device, torch.float32, non_blocking=True)
        batch_BCHW = functional.pad(batch_BCHW, padding)
        yield rows, image_channels_last(batch_BCHW)


def _chunks(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def _volume_logits(
    net: FeatureNet,
    image_SCHW: NDArray[np.float32] | Tensor,
    window: Window,
    device: torch.device | str,
    precision: Precision,
) -> Tensor:
    return _windowed(
        lambda patch: _logits(net, patch, precision),
        image_SCHW,
        window,
        device,
        beyond=SURE_BACKGROUND,
    )


def _windowed(
    predict: Callable[[Tensor], Tensor],
    image_SCHW: NDArray[np.float32] | Tensor,
    window: Window,
    device: torch.device | str,
    beyond: float,
) -> Tensor:
    """Return ``predict`` of a whole volume, window by window, shape [S, K, H, W].

    ``beyond`` is the value outside of a window in the centre.
    """
    from monai.inferers.utils import sliding_window_inference

    image_1CSHW = torch.as_tensor(image_SCHW).transpose(0, 1)[None].to(device, torch.float32)
    if window.sampling == "anywhere":
        maps_1KSHW = sliding_window_inference(
            image_1CSHW,
            window.patch,
            WINDOWS_AT_ONCE,
            lambda patch: predict(image_channels_last(patch)),
            overlap=OVERLAP,
            mode="gaussian",
        )
        assert isinstance(maps_1KSHW, Tensor)
        return maps_1KSHW[0].transpose(0, 1)
    shape = image_1CSHW.shape[2:]
    first = window.centre(shape)
    # Negative padding crops.
    padding = [
        amount
        for f, side, length in zip(first[::-1], window.patch[::-1], shape[::-1], strict=True)
        for amount in (-f, f + side - length)
    ]
    maps_1KDHW = predict(image_channels_last(functional.pad(image_1CSHW, padding)))
    back = [-amount for amount in padding]
    return functional.pad(maps_1KDHW, back, value=beyond)[0].transpose(0, 1)


def _cropped(x_BHW: Tensor, shape: tuple[int, ...]) -> NDArray[np.generic]:
    array: NDArray[np.generic] = x_BHW[:, : shape[1], : shape[2]].cpu().numpy()
    return array


@contextmanager
def evaluating(*nets: nn.Module, device: torch.device | str) -> Iterator[None]:
    """Put networks into evaluation mode, and back."""
    with ExitStack() as stack:
        stack.enter_context(kernels(torch.device(device), fixed_shapes=False))
        for net in nets:
            stack.callback(net.train, net.training)
            net.eval()
        yield
