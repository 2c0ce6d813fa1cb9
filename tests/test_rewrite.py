"""Networks made from networks: the same function on the same weights."""

import numpy as np
import pytest
import torch

import sightline as sl
from sightline import layers
from sightline.graph.build import layer_of
from sightline.rewrite import fold_batchnorm, pool_before_activation


def order(network):
    """The kinds of the layers, in the order in which they are called."""
    found = (layer_of(network, node) for node in network.graph.nodes)
    return [type(layer).__name__ for layer in found if layer is not None]


def small(activation="relu", pool=layers.MaxPooling2D, **pooling):
    torch.manual_seed(0)
    return sl.Sequential(
        [
            sl.Input((20, 18, 3)),
            layers.Conv2D(8, 3, activation=activation),
            pool(**pooling),
            layers.BatchNormalization(),
            layers.Conv2D(6, 3, padding="same", activation="relu", name="second"),
            layers.MaxPooling2D(3, 2, padding="same"),
            layers.Flatten(),
            layers.Dropout(0.3, seed=1),
            layers.Dense(4, activation="softmax"),
        ]
    )


def answer_and_gradients(network, model, x):
    model.zero_grad()
    for layer in model.modules():
        if hasattr(layer, "draws"):
            layer.draws = 0
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    y = network(x)
    (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    found = (
        y.detach(),
        [parameter.grad.clone() for parameter in model.parameters()],
        model.state_dict()["layers.batch_normalization.running_mean"].clone(),
    )
    model.load_state_dict(state)
    return found


@pytest.mark.parametrize("training", [True, False])
def test_pooling_before_the_activation_is_the_same_function(training):
    model = small()
    network = pool_before_activation(model)
    assert order(network)[:4] == ["Conv2D", "MaxPooling2D", "Activation", "BatchNormalization"]
    assert order(network).count("Activation") == 2
    assert {id(p) for p in network.parameters()} == {id(p) for p in model.parameters()}
    model.train(training)
    x = torch.randn(5, 3, 20, 18).to(memory_format=torch.channels_last)
    (one, gradients, mean), (other, its, same_mean) = (answer_and_gradients(n, model, x) for n in (model, network))
    assert torch.equal(one, other)
    assert torch.equal(mean, same_mean)
    for mine, exact in zip(its, gradients, strict=True):
        torch.testing.assert_close(mine, exact, rtol=1e-4, atol=1e-6)


def test_the_model_itself_stays_as_it_is():
    model = small()
    before = model.summary(as_text=True), order(model), {name: t.clone() for name, t in model.state_dict().items()}
    state = torch.get_rng_state()
    pool_before_activation(model)
    assert (model.summary(as_text=True), order(model)) == before[:2]
    assert all(torch.equal(t, before[2][name]) for name, t in model.state_dict().items())
    assert model.get_layer("conv2d").activation == "relu"
    assert torch.equal(state, torch.get_rng_state())


def several_readers():
    x = sl.Input((8, 8, 1))
    y = layers.Conv2D(2, 3, activation="relu")(x)
    return sl.Model(x, [layers.MaxPooling2D()(y), layers.Flatten()(y)])


def hooked():
    model = sl.Sequential([sl.Input((8, 8, 1)), layers.Conv2D(2, 3, activation="relu"), layers.MaxPooling2D()])
    model.layers[0].register_forward_hook(lambda *a: None)
    return model


def foreign():
    return sl.Sequential(
        [
            sl.Input((8, 8, 1)),
            layers.Conv2D(2, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Torch(torch.nn.Flatten()),
        ]
    )


@pytest.mark.parametrize(
    "make",
    [
        several_readers,
        hooked,
        foreign,
        lambda: sl.Sequential([sl.Input((8, 8, 1)), layers.Conv2D(2, 3, activation="tanh"), layers.MaxPooling2D()]),
        lambda: sl.Sequential([sl.Input((8, 8, 1)), layers.Conv2D(2, 3, activation="relu"), layers.AveragePooling2D()]),
        lambda: sl.Sequential([sl.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.MaxPooling2D()]),
    ],
)
def test_what_would_not_be_the_same_or_no_cheaper_is_left(make):
    model = make()
    assert pool_before_activation(model) is model


@pytest.mark.parametrize("name", ["mnist_cnn", "signs_cnn", "intel_cnn"])
def test_a_training_step_of_the_networks_of_the_notes_is_the_same(name, monkeypatch):
    shape = {"mnist_cnn": (28, 28, 1), "signs_cnn": (24, 24, 1), "intel_cnn": (24, 24, 3)}[name]
    x = np.random.default_rng(0).random((8, *shape), np.float32)
    y = np.eye(5, dtype=np.float32)[np.arange(8) % 5]
    trained = []
    for cheaper in (True, False):
        if not cheaper:
            monkeypatch.setattr("sightline.training.step.pool_before_activation", lambda network: network)
        torch.manual_seed(0)
        model = sl.create(name, shape, 5)
        model.compile("sgd", "categorical_crossentropy")
        model.fit(x, y, batch_size=4, epochs=2, verbose=0)
        trained.append(model)
    for one, other in zip(*(model.get_weights() for model in trained), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=2e-5)


def with_norms():
    inputs = sl.Input((12, 11, 3))
    x = layers.Conv2D(8, 3, use_bias=False)(inputs)
    x = layers.Activation("relu6")(layers.BatchNormalization(name="one")(x))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = layers.BatchNormalization(scale=False, name="two")(x)
    y = layers.BatchNormalization(center=False, name="three")(
        layers.SeparableConv2D(5, 3, padding="same", bias_initializer="ones")(x)
    )
    z = layers.Conv2D(5, 1, activation="relu")(x)
    x = layers.Add()([layers.BatchNormalization(name="stays_behind_an_activation")(z), y])
    w = layers.Conv2D(5, 1, padding=1)(x)
    x = layers.Concatenate()(
        [layers.Cropping2D(1)(layers.BatchNormalization(name="stays_with_two_readers")(w)), layers.Cropping2D(1)(w), x]
    )
    x = layers.BatchNormalization(name="four")(layers.Dense(6)(layers.Flatten()(x)))
    return sl.Model(inputs, layers.Dense(3, activation="softmax")(x))


def test_folded_normalizations_are_the_same_function():
    torch.manual_seed(0)
    model = with_norms()
    for name, tensor in model.state_dict().items():
        if (
            "running_var" in name
            or "batch_normalization" in name
            or name.split(".")[1] in ("one", "two", "three", "four")
        ):
            tensor.copy_(torch.rand_like(tensor) + 0.5)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    network = fold_batchnorm(model.eval())
    names = [layer.name for layer in network.layers if isinstance(layer, layers.BatchNormalization)]
    assert names == ["stays_behind_an_activation", "stays_with_two_readers"]
    x = torch.rand(3, 3, 12, 11, dtype=torch.float32)
    with torch.no_grad():
        expected = model(x)
        assert expected.std() > 1e-3
        assert torch.allclose(network(x), expected, rtol=1e-4, atol=1e-6)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in before.items())
    plain = small()
    assert fold_batchnorm(plain) is plain  # its normalization reads a pooling
