"""Networks as graphs: symbolic calls, names, copies, pickles, export."""

import copy
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import fx, nn

import sightline as sl
from sightline import layers
from sightline.errors import ArgumentError, ShapeError, SightlineError
from sightline.graph.build import attribute_name


def two_inputs_two_outputs():
    a, b = sl.Input((8, 8, 3), name="left"), sl.Input((8, 8, 3), name="right")
    shared = layers.Conv2D(4, 3, name="shared")
    joined = layers.Add()([shared(a), shared(b)])
    return sl.Model([a, b], [layers.Flatten()(joined), layers.Concatenate()([joined, shared(a)])])


def with_odd_names():
    """Layers named as a module's own methods, as a keyword, and as no identifier."""
    names = ["fit", "train", "layers", "forward", "class", "1st", "a b.c"]
    return sl.Sequential(
        [
            sl.Input((6,)),
            *(layers.Dense(4, activation="relu", name=name) for name in names),
            layers.BatchNormalization(),
        ]
    )


def nested():
    part = sl.Sequential([layers.Conv2D(4, 3, padding="same"), layers.ReLU()])
    inputs = sl.Input((8, 8, 3))
    again = layers.Conv2D(3, 1)(part(inputs))
    return sl.Model(inputs, layers.Dense(2, activation="softmax")(layers.Flatten()(part(again))))


def around_torch():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
    inputs = sl.Input((8, 8, 3))
    return sl.Model(inputs, layers.Dense(2)(layers.Flatten()(layers.Torch(module)(inputs))))


class TwoAnswers(nn.Module):
    def forward(self, x):
        return x * 2, x.mean((2, 3))


def several_from_one():
    inputs = sl.Input((4, 4, 3))
    doubled, means = layers.Torch(TwoAnswers())(inputs)
    return sl.Model(inputs, {"means": layers.Dense(2)(means), "doubled": doubled})


def dropped():
    return sl.Sequential([sl.Input((6,)), layers.Dense(8), layers.Dropout(0.5, seed=3), layers.Dense(2)])


KINDS = [
    two_inputs_two_outputs,
    with_odd_names,
    nested,
    around_torch,
    several_from_one,
    dropped,
    lambda: sl.create("small_cnn"),
]
kinds = pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__.strip("<>"))


def example(model, batch=3):
    generator = torch.Generator().manual_seed(0)
    return [torch.rand((batch, *value.inner_shape), generator=generator) for value in model.inputs]


def flat(outputs):
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [t for item in (outputs.values() if isinstance(outputs, dict) else outputs) for t in flat(item)]


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@kinds
@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_copies_answer_the_same_and_share_nothing(make, how):
    model = make().eval()
    x = example(model)
    before = flat(model(*x))
    twin = how(model)
    assert type(twin).__mro__[1] is type(model).__mro__[1]
    assert same(before, flat(twin(*x)))
    assert list(twin.state_dict()) == list(model.state_dict())
    assert twin.output_shape == model.output_shape
    assert [layer.name for layer in twin.layers] == [layer.name for layer in model.layers]
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    assert same(before, flat(model(*x)))


@kinds
def test_symbolic_shapes_are_the_real_ones(make):
    model = make().eval()
    outputs = flat(model(*example(model)))
    assert [tuple(o.shape[1:]) for o in outputs] == [value.inner_shape for value in model.outputs]


@kinds
def test_state_dict_round_trip(make):
    torch.manual_seed(1)
    model, other = make().eval(), make().eval()
    x = example(model)
    other.load_state_dict(model.state_dict())
    assert same(flat(model(*x)), flat(other(*x)))
    assert all(name.startswith("layers.") for name in model.state_dict())


@kinds
def test_torch_export(make):
    model = make().eval()
    x = example(model)
    exported = torch.export.export(model, tuple(x)).module()
    for ours, theirs in zip(flat(model(*x)), flat(exported(*x)), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_torch_compile_traces_it():
    model = sl.create("small_cnn").eval()
    (x,) = example(model)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x))


def test_averaged_copies():
    model = dropped()
    average = torch.optim.swa_utils.AveragedModel(model)
    with torch.no_grad():
        model.layers[0].weight.add_(1)
    average.update_parameters(model)
    torch.testing.assert_close(average.module.layers[0].weight, model.layers[0].weight)


def test_data_parallel_wrapping(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        model = sl.create("mnist_cnn")
        wrapped = nn.parallel.DistributedDataParallel(model)
        wrapped(*example(model)).sum().backward()
        assert all(p.grad is not None for p in model.parameters())
    finally:
        torch.distributed.destroy_process_group()


def test_a_model_is_a_graph_module():
    model = sl.create("mnist_cnn")
    assert isinstance(model, fx.GraphModule)
    names = [node.name for node in model.graph.nodes]
    assert names == ["input_layer", "conv2d", "max_pooling2d", "conv2d_1", "max_pooling2d_1", "conv2d_2", "flatten", "dense", "dense_1", "output"]  # fmt: skip


def test_a_layer_may_have_any_name():
    model = with_odd_names()
    model.compile("sgd", "mse")
    model.fit(np.zeros((4, 6)), np.zeros((4, 4)), verbose=0)
    model.train()
    assert model.get_layer("fit") is model.layers[0]
    assert model.get_layer("a b.c").name == "a b.c"


@given(st.text(min_size=1).filter(lambda name: "/" not in name))
@settings(max_examples=200, deadline=None)
def test_every_layer_name_becomes_an_attribute(name):
    attribute = attribute_name(name)
    assert attribute.isidentifier()
    assert not hasattr(nn.Module, attribute)


def test_names_are_counted_in_each_model():
    first, second = sl.create("mnist_cnn"), sl.create("mnist_cnn")
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]


def test_layers_of_two_models_in_a_third_keep_or_change_their_names():
    def branch():
        x = sl.Input((4,))
        return sl.Model(x, layers.Dense(3)(x))

    one, two = branch(), branch()
    x = sl.Input((4,))
    both = sl.Model(x, layers.Add()([one.layers[1](x), two.layers[1](x)]))
    assert [node.name for node in both.graph.nodes if node.op == "call_module"] == ["dense", "dense_1", "add"]
    assert two.get_layer("dense") is both.get_layer("dense_1")


def test_a_name_given_twice_is_refused():
    x = sl.Input((4,))
    y = layers.Dense(2, name="head")(layers.Dense(2, name="head")(x))
    with pytest.raises(ArgumentError, match='named "head"'):
        sl.Model(x, y)


def test_a_model_of_a_part_shares_its_weights():
    model = sl.create("mnist_cnn").eval()
    part = sl.Model(model.inputs, model.values["flatten"])
    (x,) = example(model)
    head = sl.Model(model.values["flatten"], model.outputs[0])
    torch.testing.assert_close(head(part(x)), model(x))
    assert part.layers[1].weight is model.layers[1].weight


def test_parts_can_be_cut_from_a_copy():
    model = copy.deepcopy(sl.create("mnist_cnn")).eval()
    part = sl.Model(model.inputs, model.values["conv2d"])
    (x,) = example(model)
    torch.testing.assert_close(part(x), model.get_layer("conv2d")(x))


def test_deep_networks_need_no_recursion():
    x = inputs = sl.Input((2,))
    for _ in range(1500):
        x = layers.ReLU()(x)
    model = pickle.loads(pickle.dumps(copy.deepcopy(sl.Model(inputs, x))))
    assert len(model.layers) == 1501
    assert model.output_shape == (None, 2)


def test_nothing_but_parameters_is_allocated():
    inputs = sl.Input((20_000, 20_000, 3))  # a batch of two would take 9.6 GB
    value = layers.GlobalAveragePooling2D()(layers.Conv2D(64, 3, activation="relu", padding="same")(inputs))
    assert value.shape == (None, 64)


def test_finding_shapes_changes_nothing():
    layer = layers.BatchNormalization()
    draw = layers.Dropout(0.5, seed=1)
    before = torch.get_rng_state()
    draw(layer(sl.Input((3,))))
    assert torch.equal(layer.running_mean, torch.zeros(3))
    assert torch.equal(layer.running_var, torch.ones(3))
    assert draw.draws == 0
    assert layer.training
    assert torch.equal(before, torch.get_rng_state())


def test_flatten_is_in_hwc_order_and_a_view():
    x = torch.arange(24.0).reshape(1, 2, 3, 4).permute(0, 3, 1, 2)  # NHWC memory
    y = layers.Flatten()(x)
    assert torch.equal(y, torch.arange(24.0)[None])
    assert y.data_ptr() == x.data_ptr()


def test_seeded_dropout_draws_the_same_whatever_else_draws():
    def masks():
        layer = layers.Dropout(0.5, seed=7).train()
        return [layer(torch.ones(4, 50)) for _ in range(3)]

    first = masks()
    torch.rand(5)
    second = masks()
    assert same(first, second)
    assert not torch.equal(first[0], first[1])
    assert set(torch.unique(first[0]).tolist()) == {0.0, 2.0}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: nn.Conv2d(3, 3, 3)(x), "layers.Torch"),
        (lambda x: torch.relu(x), "layers.Torch"),
        (lambda x: x + x, "layers.Add"),
        (lambda x: layers.Conv2D(3, 30, name="big")(x), "big .Conv2D.: a window of 30x30 .* 8x8"),
        (lambda x: layers.Conv2D(3, 3)(sl.Input((4,))), "takes one feature map"),
        (lambda x: layers.Conv2D(3, 3, kernel_sise=3), 'argument \'kernel_sise\'.*mean "kernel_size"'),
        (lambda x: layers.Conv2D(3, 3, padding="smae"), '"same"'),
        (lambda x: layers.Conv2D(3, 3, kernel_constraint="max_norm"), "kernel_constraint"),
        (lambda x: layers.Conv2D(0, 3), "filters"),
        (lambda x: layers.Conv2D(3, (3, 3, 3)), "kernel_size"),
        (lambda x: layers.Dense(3, activation="rellu"), '"relu"'),
        (lambda x: layers.Dense(3, kernel_initializer="glorot")(sl.Input((2,))), '"glorot_'),
        (lambda x: layers.Dropout(1.5), "rate"),
        (lambda x: layers.Add()([x]), "at least two"),
        (lambda x: layers.Add()([x, sl.Input((5, 8, 3))]), "one shape"),
        (lambda x: layers.Concatenate(axis=1)([x, sl.Input((8, 5, 3))]), "axis 1"),
        (lambda x: layers.Concatenate(axis=7)([x, x]), "no axis 7"),
        (lambda x: layers.BatchNormalization(axis=4)(x), "no axis 4"),
        (lambda x: layers.Torch(nn.Linear(5, 2))(x), "Torch cannot take an input of shape"),
        (lambda x: sl.Model(sl.Input((8, 8, 3)), layers.Flatten()(x)), "not among the model's inputs"),
        (lambda x: sl.Model(3, x), "a symbolic value"),
        (lambda x: sl.Model(x, 3), "output"),
        (lambda x: sl.Sequential([nn.ReLU()]), "layers.Torch"),
        (lambda x: sl.Sequential([layers.Dense(3)]).summary(), "input_shape"),
        (lambda x: sl.Input((None, None, 3)), "Give each size a number"),
        (lambda x: sl.Input((0, 3)), "positive"),
        (lambda x: sl.create("mnist"), '"mnist_cnn"'),
        (lambda x: sl.create("mnist_cnn", input_shape=(8, 8, 1)), "mnist_cnn cannot be made for images of .8, 8, 1."),
        (lambda x: sl.create("mnist_cnn", classes=1), "at least 2"),
        (lambda x: sl.create("mnist_cnn", wieghts="imagenet"), "wieghts"),
    ],
)  # fmt: skip
def test_mistakes_get_a_sentence(call, words):
    with pytest.raises(SightlineError, match=words):
        call(sl.Input((8, 8, 3)))


def test_a_tensor_of_the_wrong_rank_is_told_the_layout():
    with pytest.raises(ShapeError, match="channels first"):
        sl.create("mnist_cnn")(torch.zeros(28, 28))


def test_a_layer_that_keras_would_call_is_told_what_to_write():
    with pytest.raises(sl.SightlineError, match=r"Theirs defines call.*forward"):

        class Theirs(layers.Layer):
            def call(self, inputs):
                return inputs

    class Nothing(layers.Layer):
        pass

    with pytest.raises(sl.SightlineError, match="Nothing does not say what it computes"):
        Nothing()(sl.Input((4,)))


def test_a_model_that_keras_would_subclass_is_told_what_to_write():
    with pytest.raises(sl.SightlineError, match="Own defines train_step, which nothing calls"):

        class Own(sl.Model):
            def train_step(self, data):
                return {}

    class Empty(sl.Model):
        def __init__(self):
            super().__init__()

    with pytest.raises(sl.SightlineError, match="Empty is made of symbolic inputs and outputs"):
        Empty()


class Residual(layers.Layer):
    """A block of layers in lists, as books write it."""

    def __init__(self, filters, **common):
        super().__init__(**common)
        self.main = [layers.Conv2D(filters, 3, padding="same", kernel_regularizer="l2"), layers.BatchNormalization()]
        self.skip = layers.Conv2D(filters, 1)

    def forward(self, x):
        y = x
        for layer in self.main:
            y = layer(y)
        return torch.relu(y + self.skip(x))


def test_layers_within_a_layer_are_built_trained_and_counted():
    model = sl.Sequential([sl.Input((6, 6, 2)), Residual(4), Residual(3), layers.GlobalAveragePooling2D()])
    assert model.count_params() == (3 * 3 * 2 * 4 + 4 + 16 + 2 * 4 + 4) + (3 * 3 * 4 * 3 + 3 + 12 + 4 * 3 + 3)
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))
    assert model.get_weights()[0].shape == (3, 3, 2, 4)  # in Keras's layout
    assert len(list(model.penalties())) == 2
    before = model.get_weights()
    model.compile("sgd", "mse")
    model.fit(np.random.rand(8, 6, 6, 2), np.random.rand(8, 3), verbose=0)
    moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert sum(moved) >= len(moved) - 2  # a bias before BatchNormalization may stay
    twin = copy.deepcopy(model)
    twin.set_weights(before)
    assert not np.array_equal(twin.get_weights()[0], model.get_weights()[0])


def test_names_that_python_keeps_for_itself():
    inputs = sl.Input((4, 4, 1), name="self")
    model = sl.Model(inputs, layers.Flatten(name="class")(layers.Conv2D(1, 3, name="self ")(inputs)))
    assert model.predict(np.zeros((2, 4, 4, 1))).shape == (2, 4)
    inputs = sl.Input((4, 4, 1))
    model = sl.Model(inputs, layers.Flatten()(layers.Conv2D(1, 3, name="self")(inputs)))
    assert model.predict(np.zeros((2, 4, 4, 1))).shape == (2, 4)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x: sl.Model(x, layers.Flatten()(x), name="a/b"), "name is a printable text without /"),
        (lambda x: layers.Flatten(name="a\x00"), "name is a printable text"),
        (lambda x: sl.Model([x, x], layers.Flatten()(x)), "one value twice"),
        (lambda x: sl.Model({"a": x}, layers.Flatten()(x)), "names of the Inputs"),
        (lambda x: sl.Sequential([sl.Input((4, 4, 2)), layers.Flatten()])(x), "another shape"),
        (lambda x: sl.Model(x, layers.Flatten()(x))(torch.zeros(2, 5, 8, 8)), "other channels"),
        (lambda x: sl.Model(x, layers.Flatten()(x)).get_layer(index=7), "has 2 layers"),
        (lambda x: sl.Model(x, layers.Flatten()(x)).save("model"), "ends in .sightline"),
        (lambda x: sl.Model(x, layers.Flatten()(x)).save("model.KERAS"), "ends in .sightline"),
        (lambda x: sl.Sequential([layers.Dense(3)]).output, "has no output"),
        (lambda x: sl.Sequential(layers.Dense(3)), "a list of layers"),
        (lambda x: layers.Dense(3)(np.ones((2, 3))), "Dense takes symbolic values or tensors"),
        (lambda x: sl.Input(batch_shape=(None, 3)), "batch_shape"),
        (lambda x: sl.Input(), "Input needs a shape"),
        (lambda x: layers.BatchNormalization(momentum=2), "momentum"),
        (lambda x: sl.metrics.TopKCategoricalAccuracy(k=0), "k is a whole number"),
        (lambda x: sl.preprocessing.image_dataset_from_directory, "flow_from_directory"),
        (lambda x: sl.utils.to_categorical(["a"]), "class numbers"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(call, words):
    with pytest.raises(sl.SightlineError, match=words):
        call(sl.Input((8, 8, 3)))


def test_own_weights_count_and_are_read():
    class Scale(layers.Layer):
        def build(self, shape):
            self.factor = self.weight_of((shape[0],), "ones")

        def forward(self, x):
            return x * self.factor

    model = sl.Sequential([sl.Input((3,)), Scale(name="scale")])
    assert model.count_params() == 3
    assert [w.tolist() for w in model.get_weights()] == [[1, 1, 1]]
    model.set_weights([np.array([1.0, 2.0, 3.0])])
    assert model.predict(np.ones((1, 3))).tolist() == [[1, 2, 3]]


CORRUPTION = """
import torch
from sightline.layers.convolution import convolve

for channels in (1, 3, 15):
    x = torch.randn(4, channels, 180, 180).to(memory_format=torch.channels_last)
    weight = torch.randn(32, channels, 1, 1, requires_grad=True)
    for _ in range(8):
        convolve(x, weight, None, (2, 2)).sum().backward()
        others = [torch.randn(1000) for _ in range(100)]
print("whole")
"""


def test_a_strided_convolution_of_1x1_leaves_the_memory_whole():
    """torch's own gradient of it corrupts the heap of the process: so in one of its own."""
    environment = os.environ | {"MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "85"}
    done = subprocess.run([sys.executable, "-c", CORRUPTION], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "whole\n")


def with_a_backbone_in_inference_mode():
    inner = sl.Sequential([sl.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Dropout(0.5)])
    inputs = sl.Input((8, 8, 3))
    x = layers.GlobalMaxPooling2D()(layers.DepthwiseConv2D(3)(inner(inputs, training=False)))
    return sl.Model(
        inputs, layers.Dense(2, activation="softmax", name="answer")(layers.Dropout(0.5)(x, training=False))
    )


@pytest.mark.parametrize("make", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), lambda m: m.double().float()])
def test_the_mode_of_a_call_survives_copies_files_and_export(make, tmp_path):
    model, x = with_a_backbone_in_inference_mode(), torch.rand(2, 3, 8, 8)
    expected = model.eval()(x)
    model.train()
    other = make(model)
    assert torch.equal(other(x), expected)  # although it trains
    assert other.training
    assert other.layers[1].training
    path = other.save(tmp_path / "m.sightline")
    assert torch.equal(sl.load(path).train()(x), expected)
    exported = torch.export.export(other.eval(), (x,)).module()
    assert torch.allclose(exported(x), expected, atol=1e-6)
    part = sl.Model(other.input, other.get_layer("answer").input)
    assert part(x).shape == (2, 4)


def test_predictions_in_bfloat16_are_numpy_arrays():
    model = sl.create("mnist_cnn").to(torch.bfloat16)
    assert model.predict(np.zeros((2, 28, 28, 1))).dtype == np.float32
