"""Cost equals what torch counts on the network as it runs, and the full summary says it."""

import io
import re

import pytest
import torch
import torchvision
from rich.console import Console
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import sightline as sl
from sightline import layers
from sightline.errors import ArgumentError, SightlineError
from sightline.measure import cost, full_summary


def made(name):
    """A network by name, without memory for its weights."""
    with torch.device("meta"):
        return sl.create(name)


def flops_counted(model, device="meta"):
    """By torch, for one image."""
    x = [torch.empty((1, *value.inner_shape), device=device) for value in model.inputs]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(*x)
    return counter.get_total_flops()


SOON = {
    "alexnet",
    "googlenet",
    "mobilenet_v2",
    "resnet18",
    "resnet50",
    "vgg16",
    "mnist_cnn",
    "signs_cnn",
    "intel_cnn",
    "small_cnn",
    "lenet5",
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in SOON else pytest.mark.slow) for name in sl.list_models()]
)
def test_every_network_costs_what_torch_counts(name):
    model = made(name)
    found = cost(model)
    assert found.flops == flops_counted(model) > 0
    assert found.parameters == model.count_params()
    assert found.parameters == sum(node.parameters for node in found.nodes)


def all_kinds():
    inputs = sl.Input((20, 18, 4))
    x = layers.Conv2D(6, (3, 2), (2, 1), padding="same", groups=2)(inputs)
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, dilation_rate=2, padding=1)(x)
    x = layers.SeparableConv2D(5, 3, depth_multiplier=3)(x)
    x = layers.Conv2DTranspose(3, 3, 2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(layers.MaxPooling2D(3, 2, padding=1)(x))
    x = layers.Dense(7)(layers.UpSampling2D(2, interpolation="bicubic")(x))
    tokens = layers.Dense(2)(layers.Reshape((-1, 7))(x))
    return sl.Model(inputs, [layers.Dense(3)(layers.Flatten()(x)), tokens])


def nested_and_shared():
    part = sl.Sequential([layers.Conv2D(3, 3, padding="same", name="inner"), layers.ReLU()], name="part")
    inputs = sl.Input((8, 8, 3))
    return sl.Model(inputs, part(layers.Conv2D(3, 1)(part(inputs))))


class Attention(layers.Layer):
    def forward(self, x):
        flat = x.flatten(2)
        return (flat @ flat.mT @ flat).unflatten(2, x.shape[2:])


def own_layer():
    return sl.Sequential([sl.Input((5, 6, 3)), Attention(name="attention")])


@pytest.mark.parametrize("make", [all_kinds, nested_and_shared, own_layer])
def test_layers_of_all_kinds(make):
    model = make()
    assert cost(model).flops == flops_counted(model, "cpu") > 0


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16"])
def test_a_module_of_someone_elses(name):
    with torch.device("meta"):
        module = torchvision.models.get_model(name, weights=None).eval()
    inputs = sl.Input((224, 224, 3))
    model = sl.Model(inputs, layers.Torch(module, name="net")(inputs))
    found = cost(model)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.empty(1, 3, 224, 224, device="meta"))
    assert found.flops == found["net"].flops == counter.get_total_flops() > 0


def test_numbers_by_hand():
    model = sl.Sequential(
        [
            sl.Input((8, 8, 3), name="image"),
            layers.Conv2D(4, 3, padding="same", name="conv"),
            layers.MaxPooling2D(2, name="pool"),
            layers.Flatten(name="flat"),
            layers.Dense(10, name="dense"),
        ]
    )
    found = cost(model)
    assert [(node.name, node.macs, node.parameters, node.activation_bytes) for node in found.nodes] == [
        ("image", 0, 0, 4 * 192),
        ("conv", 64 * 4 * 27, 112, 4 * 256),
        ("pool", 0, 0, 4 * 64),
        ("flat", 0, 0, 4 * 64),
        ("dense", 640, 650, 40),
    ]
    assert (found.macs, found.flops) == (7552, 15104)
    assert found.activation_bytes == 4 * (192 + 256 + 64 + 64 + 10)
    assert str(found) == "7.55 k multiply-adds (15.1 k FLOPs), 762 parameters, 2.29 KiB of activations for an image"
    with pytest.raises(ArgumentError, match='Did you mean "conv"'):
        found["conv2"]


def test_parameters_of_a_shared_layer_count_once():
    found = cost(nested_and_shared())
    assert [node.parameters for node in found.nodes if node.name.endswith("inner")] == [84, 0]
    assert found.parameters == 84 + 12
    assert found.non_trainable == 0


def test_moving_statistics_do_not_train():
    found = cost(sl.Sequential([sl.Input((4, 4, 3)), layers.BatchNormalization()]))
    assert (found.trainable, found.non_trainable) == (6, 6)


def test_nothing_is_allocated_or_changed():
    model = made("mnist_cnn")
    assert cost(model).macs == cost(sl.create("mnist_cnn")).macs
    assert all(parameter.is_meta for parameter in model.parameters())


def test_a_network_without_a_shape_is_refused():
    with pytest.raises(SightlineError, match="input_shape"):
        cost(sl.Sequential([layers.Dense(2)]))


# --- the full summary ------------------------------------------------------------------------------------------


def joined():
    inputs = sl.Input((32, 32, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", strides=2, name="first")(inputs)
    y = sl.Sequential([layers.Conv2D(8, 3, padding="same", name="inner")], name="part")(x)
    x = layers.Add(name="join")([x, y])
    return sl.Model(inputs, layers.Dense(5, name="answer")(layers.GlobalAveragePooling2D(name="mean")(x)))


def cells(line):
    return [cell.strip() for cell in re.split(r"\s{2,}", line.strip())]


def test_the_full_summary_has_a_row_for_each_layer():
    rows = {cells(line)[0]: cells(line)[1:] for line in str(full_summary(joined())).splitlines() if line.strip()}
    assert rows["first (Conv2D)"] == ["(None, 16, 16, 8)", "224", "55.3 k", "8.00 KiB", "3 / 2"]
    assert rows["part/inner (Conv2D)"] == ["(None, 16, 16, 8)", "584", "147 k", "8.00 KiB", "7 / 2"]
    assert rows["join (Add)"] == ["(None, 16, 16, 8)", "0", "0", "8.00 KiB", "7 / 2", "first, part/inner"]
    assert rows["answer (Dense)"] == ["(None, 5)", "45", "40", "20 B", "all"]
    assert "Total params: 853 (3.33 KiB)" in rows
    assert any(line.startswith("MACs: 202,792 (406 k FLOPs)") for line in rows)


def test_what_is_not_known_of_a_field_is_a_question_mark():
    rows = full_summary(own_layer()).rows
    assert [row.field_text for row in rows] == ["1 / 1", "?"]
    assert rows[1].field is None
    assert [row.field_text for row in full_summary(sl.Sequential([sl.Input((6,)), layers.Dense(2)])).rows] == ["?", "?"]


@pytest.mark.parametrize("name", sorted({"mnist_cnn", "resnet50", "vgg16", "googlenet"} & set(sl.list_models())))
def test_it_fits_a_terminal_of_120_columns(name):
    page = Console(width=120, record=True, file=io.StringIO(), soft_wrap=True, highlight=False)
    page.print(full_summary(made(name)), markup=False)
    text = page.export_text()
    assert max(map(len, text.splitlines())) <= 120
    assert "…" not in text
    assert "Connected to" in text


def test_the_command(run):
    code, out, _ = run("summary", "mnist_cnn", "--full")
    assert code == 0
    assert "MACs: " in out
    assert "conv2d_2 (Conv2D)" in out
    code, plain, _ = run("summary", "mnist_cnn")
    assert code == 0
    assert "MACs" not in plain


def test_several_outputs_of_one_layer():
    class TwoAnswers(nn.Module):
        def forward(self, x):
            return x * 2, x.mean((2, 3))

    inputs = sl.Input((4, 4, 3))
    doubled, means = layers.Torch(TwoAnswers(), name="two")(inputs)
    model = sl.Model(inputs, [doubled, layers.Dense(2, name="head")(means)])
    found = full_summary(model)
    assert found.rows[1].output_shape == "(None, 4, 4, 3), (None, 3)"
    assert found.rows[2].connected_to == ("two[1]",)
    assert found.cost["two"].activation_bytes == 4 * (48 + 3)
