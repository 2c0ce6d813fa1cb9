"""What a receptive field says of images and objects, in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from ..layers.base import pair
from .receptive_field import AxisField, ReceptiveField, times

Size = int | Sequence[int]


def advice(field: ReceptiveField, image_size: Size | None = None, object_size: Size | None = None) -> list[str]:
    """What may go wrong with a feature map of this field; an empty list where nothing does.

    Sizes are pixels, one number or (height, width), of the image as the network takes it; `image_size` is the network's own
    where it is not given. Of the two axes the worse one counts.
    """
    images = _both(image_size, "image_size", (field.height.image, field.width.image))
    warnings = [_field_and_image(field, images), _borders(field, images)]
    if object_size is not None:
        objects = _both(object_size, "object_size", images)
        warnings += [_small_objects(field, objects), _large_objects(field, objects)]
    return [warning for warning in warnings if warning is not None]


def _both(size: Size | None, what: str, otherwise: tuple[int, int]) -> tuple[int, int]:
    return otherwise if size is None else pair(size, what)


def _axes(field: ReceptiveField, sizes: tuple[int, int]) -> list[tuple[AxisField, int]]:
    return list(zip((field.height, field.width), sizes, strict=True))


def _field_and_image(field: ReceptiveField, images: tuple[int, int]) -> str | None:
    if not any(axis.size is not None and axis.size > size for axis, size in _axes(field, images)):
        return None
    return (
        f"The field of {times(*field.size)} pixels is larger than the image of {times(*images)}: "
        "every place sees padding, and more layers add no sight. Larger images would be used better."
    )


def _small_objects(field: ReceptiveField, objects: tuple[int, int]) -> str | None:
    if not any(axis.stride > size for axis, size in _axes(field, objects)):
        return None
    return (
        f"Objects of {times(*objects)} pixels are smaller than the stride of {times(*field.stride)}: two of them can fall into "
        "one place. Take a feature map nearer the image, or larger images."
    )


def _large_objects(field: ReceptiveField, objects: tuple[int, int]) -> str | None:
    if not any(axis.size is not None and axis.size < size for axis, size in _axes(field, objects)):
        return None
    return (
        f"Objects of {times(*objects)} pixels are larger than the field of {times(*field.size)}: no place sees a whole one. "
        "Take a later feature map, or smaller images."
    )


def _borders(field: ReceptiveField, images: tuple[int, int]) -> str | None:
    """ "valid" padding draws the places inwards: at a border more pixels than a place's share have none of their own."""
    margins = [_margin(axis, size) for axis, size in _axes(field, images)]
    if not any(
        margin >= max(axis.stride, Fraction(1)) for (axis, _), margin in zip(_axes(field, images), margins, strict=True)
    ):
        return None
    return (
        f"The places end {times(*(f'{float(margin):g}' for margin in margins))} pixels before the border, because of padding "
        '"valid": objects there are seen by few places, or only in part. Use padding "same", or leave a margin around objects.'
    )


def _margin(axis: AxisField, image: int) -> Fraction:
    """Pixels before the first place's cell or behind the last one's, whichever is more; a cell is as wide as the stride."""
    if not axis.size or not axis.stride:
        return Fraction(0)
    places = axis.places + (image - axis.image) // axis.stride
    last = axis.offset + axis.stride * (places - 1)
    return max(axis.offset, image - last) - axis.stride / 2
