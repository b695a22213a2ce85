"""Losses of a detector, one number per picture."""

from __future__ import annotations

from torch import Tensor

FOCUS, NEAR = 2, 4  # powers of what is answered wrongly, and of the distance from a centre
_TINY = 1e-7


def focal_heat(logits: Tensor, heat: Tensor) -> Tensor:
    """Focal loss of the heat of centres (B,), over the number of centres, at least one.

    Cells with heat 1 give -(1 - p)² log p, all others -(1 - heat)⁴ p² log(1 - p), p the sigmoid of the logit.

    Args:
        logits: (B, C, H, W).
        heat: Targets in [0, 1], 1 at centres.

    References:
        Law & Deng (2018), CornerNet, ECCV, after Lin et al. (2017), Focal loss for dense object detection, ICCV.

    Example:
        >>> import torch
        >>> heat = torch.zeros(1, 1, 2, 2); heat[0, 0, 0, 0] = 1
        >>> bool(focal_heat(10 * (2 * heat - 1), heat) < 1e-3 < 1 < focal_heat(-10 * (2 * heat - 1), heat))
        True
    """
    import torch.nn.functional as F  # noqa: N812  (its usual name)

    p = logits.sigmoid()
    centre = (heat == 1).to(logits.dtype)
    found = (1 - p) ** FOCUS * F.logsigmoid(logits)
    other = (1 - heat) ** NEAR * p**FOCUS * F.logsigmoid(-logits)
    total = (centre * found + (1 - centre) * other).flatten(1).sum(1)
    loss: Tensor = -total / centre.flatten(1).sum(1).clamp(min=1)
    return loss


def generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU - (hull - union) / hull of boxes (B, 4, …), in [-1, 1]; hull is the smallest box around both.

    References:
        Rezatofighi et al. (2019), Generalized intersection over union, CVPR.

    Example:
        >>> import torch
        >>> one, two = torch.tensor([[0.0, 0, 1, 1]]), torch.tensor([[2.0, 0, 3, 1]])
        >>> [round(float(generalised_iou(one, each)), 3) for each in (one, two)]
        [1.0, -0.333]
    """
    low, high = first[:, :2].maximum(second[:, :2]), first[:, 2:].minimum(second[:, 2:])
    shared = (high - low).clamp(min=0).prod(1)
    either = sum((each[:, 2:] - each[:, :2]).clamp(min=0).prod(1) for each in (first, second)) - shared
    hull = (first[:, 2:].maximum(second[:, 2:]) - first[:, :2].minimum(second[:, :2])).clamp(min=0).prod(1)
    overlap: Tensor = shared / (either + _TINY) - (hull - either) / (hull + _TINY)
    return overlap


def box_loss(boxes: Tensor, truth: Tensor, share: Tensor) -> Tensor:
    """Weighted mean of 1 - generalised IoU over cells (B,); 0 for a picture without objects.

    Args:
        boxes: (B, 4, H, W).
        truth: (B, 4, H, W).
        share: Weights (B, H, W), 0 where there is no object.
    """
    lost = (1 - generalised_iou(boxes, truth)) * share
    mean: Tensor = lost.flatten(1).sum(1) / (share.flatten(1).sum(1) + _TINY)
    return mean
