"""DeepLabV3 (Chen, Papandreou, Schroff, Adam: Rethinking Atrous Convolution for Semantic Image Segmentation, 2017)."""

from __future__ import annotations

from ..graph.symbolic import Value
from ..layers import Concatenate, Conv2D, Dropout, GlobalAveragePooling2D, ResizeLike
from ..models import Model
from ..rewrite import dilate
from .family import bn, conv_bn

OUTPUT_STRIDE, RATES, FILTERS = 16, (6, 12, 18), 256  # section 3.3


def deeplab_head(backbone: Model, classes: int) -> Value:
    """Logits (H, W, classes) at the image's size, of any size, from the last map of the backbone, dilated to an output stride of 16.

    Behind the pyramid one more 3x3 convolution, as torchvision has it, and dropout. Raises SightlineError for a backbone that
    cannot be dilated.
    """
    features = dilate(backbone, OUTPUT_STRIDE).outputs[0]
    x = Dropout(0.5, name="aspp_dropout")(atrous_pyramid(features))
    x = conv_bn(x, FILTERS, 3, "head_conv", "head_bn")
    x = Conv2D(classes, 1, kernel_initializer="he_normal", name="logits")(x)
    return ResizeLike(name="at_image_size")([x, backbone.inputs[0]])


def atrous_pyramid(x: Value) -> Value:
    """Atrous spatial pyramid pooling (figure 5): a 1x1 convolution, 3x3 ones that look far and farther, and the mean of the map, in one."""
    maps = [conv_bn(x, FILTERS, 1, "aspp_1", "aspp_1_bn")]
    for rate in RATES:
        name = f"aspp_{rate}"
        y = Conv2D(
            FILTERS, 3, padding="same", dilation_rate=rate, use_bias=False, kernel_initializer="he_normal", name=name
        )(x)
        maps.append(bn(y, f"{name}_bn"))
    mean = conv_bn(
        GlobalAveragePooling2D(keepdims=True, name="aspp_mean")(x), FILTERS, 1, "aspp_image", "aspp_image_bn"
    )
    maps.append(ResizeLike(name="aspp_image_size")([mean, x]))
    return conv_bn(Concatenate(name="aspp_join")(maps), FILTERS, 1, "aspp_out", "aspp_out_bn")
