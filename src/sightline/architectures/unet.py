"""U-Net (Ronneberger, Fischer, Brox: U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015).

The contracting path is a backbone as any, with the maps that the expanding path takes up again as its stages; the expanding path goes on any
backbone with stages. Unlike in the paper convolutions are padded ("same"), so maps meet at one size and the answer has the image's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..errors import ShapeError
from ..graph.symbolic import Value
from ..layers import BatchNormalization, Concatenate, Conv2D, Conv2DTranspose, Dropout, MaxPooling2D, ResizeLike
from ..models import Model
from .family import Architecture, conv_bn, pooled_head, stage
from .stages import stages_of

Block = Callable[[Value, int, str], Value]

LEVELS = 5
STRIDES = (2, 4, 8, 16, 32)  # of the maps of a backbone
WIDTHS = {2: 32, 4: 64, 8: 128, 16: 256}  # of the expanding path, on a backbone of another family
MOMENTUM = 0.97  # of BatchNormalization: batches are small, and their images unlike


def plain(x: Value, filters: int, name: str) -> Value:
    """The paper's: 3x3, with a ReLU, from weights of variance 2 / fan in (section 3)."""
    return Conv2D(filters, 3, padding="same", activation="relu", kernel_initializer="he_normal", name=name)(x)


def normalized(x: Value, filters: int, name: str) -> Value:
    return conv_bn(x, filters, 3, name, f"{name}_bn", momentum=MOMENTUM)


def twice(x: Value, filters: int, block: Block, name: str) -> Value:
    return block(block(x, filters, f"{name}_conv1"), filters, f"{name}_conv2")


def contracting_path(x: Value, base: int, block: Block, dropout: float, stem: bool = False) -> Value:
    """Figure 1, left: two convolutions at each level, of twice the filters of the one before; the dropout of the authors' code stands
    at the last two. With a `stem`, a strided convolution before them, all is at half of the size."""
    first = 1
    if stem:
        x, first = conv_bn(x, base, 3, "stem", "stem_bn", strides=2, momentum=MOMENTUM), 2
    for i in range(LEVELS):
        x = MaxPooling2D(2, name=f"down{i}")(x) if i else x
        x = twice(x, base << i, block, f"level{i}")
        if dropout and i >= LEVELS - 2:
            x = Dropout(dropout, name=f"level{i}_dropout")(x)
        x = stage(x, first << i)
    return x


def unet_head(backbone: Model, classes: int) -> Value:
    """Logits (H, W, classes) at the image's size, of any size, by an expanding path over the backbone's stages (figure 1, right).

    On U-Net's own contracting path it is the paper's: up-convolutions, and each level's filters. On others maps are resized, and filters
    are 256, 128, 64 and 32; where the finest map is coarser than the image, the logits are resized to it. Convolutions have
    BatchNormalization but for the paper's own network. Raises ShapeError for a backbone of fewer than two maps.
    """
    is_own = "level0_conv1" in backbone.values
    strides = (1, *STRIDES) if is_own else STRIDES
    found = {s: value for s, value in zip(strides, stages_of(backbone, strides), strict=True) if value is not None}
    if len(found) < 2:
        raise ShapeError(
            f"{backbone.name} has fewer than two feature maps at strides of {', '.join(map(str, strides))}, on which a U-Net stands",
            fix="Take unet_small, resnet18, mobilenetv2 or another network with such maps",
        )
    has_bn = any(isinstance(layer, BatchNormalization) for layer in backbone.modules())
    block = plain if is_own and not has_bn else normalized
    *skips, last = sorted(found)
    x = found[last]
    for stride in reversed(skips):
        skip, name = found[stride], f"expand{stride}"
        filters = skip.inner_shape[0] if is_own else WIDTHS[stride]
        x = twice(joined(x, skip, name, filters if is_own else None), filters, block, name)
    x = Conv2D(classes, 1, kernel_initializer="he_normal", name="logits")(x)
    return x if skips[0] == 1 else ResizeLike(name="at_image_size")([x, backbone.inputs[0]])


def joined(x: Value, skip: Value, name: str, up_filters: int | None) -> Value:
    """The skip connection's map beside the coarser one at its size; with `up_filters` enlarged by a 2x2 up-convolution."""
    if up_filters is not None:
        up = Conv2DTranspose(up_filters, 2, 2, activation="relu", kernel_initializer="he_normal", name=f"{name}_up")
        x = up(x)
    x = ResizeLike(name=f"{name}_size")([x, skip])
    return Concatenate(name=f"{name}_join")([skip, x])


ARCHITECTURES = {
    "unet": Architecture(
        partial(contracting_path, base=64, block=plain, dropout=0.5),
        pooled_head,
        "U-Net's contracting path, padded (Ronneberger et al., 2015, figure 1)",
        (572, 572, 1),
        2,
        minimum=1 << LEVELS - 1,
    ),
    "unet_medium": Architecture(
        partial(contracting_path, base=16, block=normalized, dropout=0.0),
        pooled_head,
        "U-Net's contracting path with a quarter of the filters and BatchNormalization",
        (256, 256, 3),
        2,
        minimum=1 << LEVELS - 1,
    ),
    "unet_small": Architecture(
        partial(contracting_path, base=16, block=normalized, dropout=0.0, stem=True),
        pooled_head,
        "U-Net's contracting path at half of the size, with a quarter of the filters and BatchNormalization",
        (256, 256, 3),
        2,
        minimum=1 << LEVELS,
    ),
}
