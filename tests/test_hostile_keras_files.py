"""Files that look like Keras's and are damaged or hostile: each gets a sentence, soon, in little memory, and nothing is run."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import random
import resource
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import sightline as sl
from sightline import keras_files
from sightline.errors import ModelFileError
from sightline.models import Model, Sequential

KINDS = {"Model": Model, "Sequential": Sequential}


def network() -> Any:
    x = sl.Input((6, 6, 3), name="x")
    y = sl.layers.BatchNormalization(name="bn")(sl.layers.Conv2D(4, 3, activation="relu", name="conv")(x))
    inner = Sequential([sl.Input((4, 4, 4), name="i"), sl.layers.Conv2D(4, 1, name="c")], name="inner")
    y = sl.layers.Add(name="add")([y, inner(y)])
    return Model(x, sl.layers.Dense(2, name="d")(sl.layers.Flatten(name="f")(y)), name="m")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The entries of a sound .keras file."""
    path = tmp_path_factory.mktemp("sound") / "a.keras"
    keras_files.write_model(network(), path, {"optimizer": "adam", "loss": "mse", "metrics": ["mae"]})
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def sound_h5(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "a.h5"
    keras_files.write_model(network(), path, {"optimizer": "adam", "loss": "mse"})
    return path.read_bytes()


@pytest.fixture(autouse=True)
def _bounded() -> Any:
    """No case takes long, or much memory."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert time.monotonic() - began < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000, "kilobytes more at the peak"


def pack(path: Path, parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return path


def assert_refused(path: Path, message: str | None = None) -> None:
    with pytest.raises(ModelFileError, match=message) as caught:
        keras_files.read_model(path, KINDS)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 4000


def with_config(tmp_path: Path, parts: dict[str, bytes], change: Any) -> Path:
    config = json.loads(parts["config.json"])
    changed = change(config)
    text = json.dumps(config if changed is None else changed)
    return pack(tmp_path / "a.keras", parts | {"config.json": text.encode()})


def layer(config: Any, name: str) -> Any:
    return next(entry for entry in config["config"]["layers"] if entry["name"] == name)


def test_the_sound_files_are_read(parts: dict[str, bytes], sound_h5: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(sound_h5)
    for path in (
        pack(tmp_path / "a.keras", parts),
        pack(tmp_path / "b.keras", parts, zipfile.ZIP_DEFLATED),
        tmp_path / "a.h5",
    ):
        read, compiled = keras_files.read_model(path, KINDS)
        assert read.count_params() == network().count_params()
        assert compiled is not None


# --- the zip -----------------------------------------------------------------------------------------------------


def test_no_file_at_all(tmp_path: Path) -> None:
    assert_refused(tmp_path / "none.keras", "There is no model file")
    assert_refused(tmp_path, "There is no model file")
    for name, data in [("empty", b""), ("text", b"hello"), ("pickle", pickle.dumps({"a": 1})), ("zip", b"PK\x03\x04"),
                       ("hdf5", b"\x89HDF\r\n\x1a\n")]:  # fmt: skip
        (tmp_path / name).write_bytes(data)
        assert_refused(tmp_path / name, "damaged")


def test_a_pickle_in_place_of_weights_is_not_opened(parts: dict[str, bytes], tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path}/ran",)

    assert_refused(pack(tmp_path / "a.keras", parts | {"model.weights.h5": pickle.dumps(Bomb())}), "damaged")
    (tmp_path / "b.h5").write_bytes(pickle.dumps(Bomb()))
    assert_refused(tmp_path / "b.h5", "damaged")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["../../evil", "/etc/evil", "a/../../b", "C:\\evil", "..\\evil"])
def test_entries_that_lead_out(name: str, parts: dict[str, bytes], tmp_path: Path) -> None:
    assert_refused(pack(tmp_path / "a.keras", parts | {name: b"x"}), "leads out of the archive")


def test_many_entries_and_two_of_one_name(parts: dict[str, bytes], tmp_path: Path) -> None:
    assert_refused(pack(tmp_path / "a.keras", parts | {f"assets/{n}": b"" for n in range(5000)}), "5003 entries")
    with zipfile.ZipFile(tmp_path / "b.keras", "w") as archive:
        for name, data in (parts | {"config.jsoN": b"{}"}).items():
            archive.writestr(name, data)
    data = (tmp_path / "b.keras").read_bytes().replace(b"config.jsoN", b"config.json")
    (tmp_path / "b.keras").write_bytes(data)
    assert_refused(tmp_path / "b.keras", "two entries of one name")


def test_compression_bombs(parts: dict[str, bytes], tmp_path: Path) -> None:
    zeros = b" " * (100 * 2**20)
    assert_refused(pack(tmp_path / "a.keras", parts | {"config.json": zeros}, zipfile.ZIP_DEFLATED), "not believable")
    assert_refused(
        pack(tmp_path / "b.keras", parts | {"model.weights.h5": zeros}, zipfile.ZIP_DEFLATED), "not believable"
    )
    assert_refused(pack(tmp_path / "c.keras", parts | {"config.json": b"[" * (70 * 2**20)}), "not believable")


def test_an_encrypted_entry(parts: dict[str, bytes], tmp_path: Path) -> None:
    data = bytearray(pack(tmp_path / "a.keras", parts).read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    (tmp_path / "a.keras").write_bytes(data)
    assert_refused(tmp_path / "a.keras", "encrypted")


def test_sizes_that_lie(parts: dict[str, bytes], tmp_path: Path) -> None:
    data = bytearray(pack(tmp_path / "a.keras", parts).read_bytes())
    at = data.rindex(b"PK\x01\x02")
    struct.pack_into("<II", data, at + 20, 2**31 - 1, 2**31 - 1)
    (tmp_path / "a.keras").write_bytes(data)
    assert_refused(tmp_path / "a.keras")


def test_truncated_anywhere(parts: dict[str, bytes], sound_h5: bytes, tmp_path: Path) -> None:
    for name, whole in (("a.keras", pack(tmp_path / "whole", parts).read_bytes()), ("a.h5", sound_h5)):
        for share in range(1, 20):
            (tmp_path / name).write_bytes(whole[: len(whole) * share // 20])
            assert_refused(tmp_path / name)


# --- the configuration -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "null", "[]", "3", '"x"', "{", "{}", '{"class_name": "Model"}', '{"class_name": 3, "config": {}}',
                                  '{"class_name": "Functional", "config": {"layers": []}}', "[" * 100_000, "9" * 5000,
                                  '{"class_name": "Sequential", "config": {"layers": []}}', "\xff"])  # fmt: skip
def test_configurations_that_are_none(text: str, parts: dict[str, bytes], tmp_path: Path) -> None:
    assert_refused(pack(tmp_path / "a.keras", parts | {"config.json": text.encode("latin-1")}))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        if text != "[" * 100_000:
            file.attrs["model_config"] = np.bytes_(text.encode("latin-1")) if text else np.int32(3)
    assert_refused(tmp_path / "a.h5")


MARSHALLED = {"class_name": "__lambda__", "config": {"value": ["4wEAAAAAAAAA", None, None]}}
CODE: dict[str, Any] = {
    "lambda layer": lambda c: layer(c, "f").update(class_name="Lambda", config={"name": "f", "function": MARSHALLED}),
    "old lambda": lambda c: layer(c, "f").update(
        class_name="Lambda", config={"name": "f", "function": ["4wE=", None, None]}
    ),
    "activation": lambda c: layer(c, "conv")["config"].update(activation=MARSHALLED),
    "function": lambda c: layer(c, "conv")["config"].update(
        activation={"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    ),
    "initializer": lambda c: layer(c, "conv")["config"].update(kernel_initializer=MARSHALLED),
    "deep": lambda c: layer(c, "conv")["config"].update(padding=[{"a": MARSHALLED}]),
    "module": lambda c: layer(c, "conv").update(module="os"),
    "class": lambda c: layer(c, "conv").update(module="subprocess", class_name="Popen"),
    "registered": lambda c: layer(c, "conv").update(registered_name="Evil>Conv2D"),
    "model": lambda c: c.update(module="evil"),
}


@pytest.mark.parametrize("case", CODE)
def test_code_is_refused(case: str, parts: dict[str, bytes], tmp_path: Path) -> None:
    assert_refused(with_config(tmp_path, parts, CODE[case]), "code|class of someone's own")


def circle(config: Any) -> None:
    layer(config, "conv")["inbound_nodes"] = copy.deepcopy(layer(config, "bn")["inbound_nodes"])
    layer(config, "conv")["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = ["bn", 0, 0]


def sharing(config: Any) -> Any:
    """Each network calls the one within twice: 2^18 layers in a few kilobytes."""
    entry = {"class_name": "Conv2D", "config": {"name": "c", "filters": 1, "kernel_size": 1}}
    for depth in range(18):
        x = {
            "class_name": "InputLayer",
            "config": {"name": "x", "batch_shape": [None, 2, 2, 1]},
            "name": "x",
            "inbound_nodes": [],
        }
        inner = entry | {"name": "n", "inbound_nodes": [[["x", 0, 0]], [["n", 1 if depth else 0, 0]]]}
        inputs, outputs = [["x", 0, 0]], [["n", 2 if depth else 1, 0]]
        name = f"level{depth}"
        inner["config"] = inner["config"] | {"name": "n"}
        entry = {"class_name": "Functional",
                 "config": {"name": name, "layers": [x, inner], "input_layers": inputs, "output_layers": outputs}}  # fmt: skip
    return entry


def deep(config: Any) -> Any:
    entry: Any = {
        "class_name": "Conv2D",
        "config": {"name": "c", "filters": 1, "kernel_size": 1, "batch_input_shape": [None, 2, 2, 1]},
    }
    for depth in range(60):
        entry = {
            "class_name": "Sequential",
            "config": {"name": f"s{depth}", "layers": [entry], "build_input_shape": [None, 2, 2, 1]},
        }
    return entry


def long(config: Any) -> Any:
    start = {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 2]}}
    layers = [start, *({"class_name": "ReLU", "config": {"name": f"r{n}"}} for n in range(6_000))]
    return {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}


def history(name: Any, call: Any, item: Any) -> Any:
    def change(config: Any) -> None:
        layer(config, "bn")["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = [name, call, item]

    return change


def set_in(where: str, **options: Any) -> Any:
    return lambda config: layer(config, where)["config"].update(options)


BROKEN: dict[str, tuple[Any, str]] = {
    "circle": (circle, "in a circle"),
    "itself": (history("bn", 0, 0), "in a circle"),
    "nobody": (history("nobody", 0, 0), "refers to a layer 'nobody', which there is not"),
    "call": (history("conv", 7, 0), "refers to call 7 of 'conv'"),
    "item": (history("conv", 0, 3), "refers to output 3 of 'conv'"),
    "negative": (history("conv", -1, 0), "a whole number of at least 0"),
    "not a number": (history("conv", "0", 0), "a whole number"),
    "true": (history("conv", True, 0), "a whole number"),
    "not a name": (history(["conv"], 0, 0), "a text"),
    "sharing": (sharing, "calls its layers more than 50000 times"),
    "deep": (deep, "networks in networks"),
    "long": (long, "more than 5000 layers"),
    "twin": (lambda c: c["config"]["layers"].append(layer(c, "bn")), "Two layers are named 'bn'"),
    "idle": (lambda c: c["config"]["layers"].append(copy.deepcopy(layer(c, "bn")) | {"name": "idle"}), "leads to no output"),
    "huge": (set_in("conv", filters=10**15), "does not fit|cannot be made|another shape|damaged"),
    "huger": (set_in("conv", filters=10**40), "damaged|cannot be made"),
    "large": (set_in("d", units=2**31), "another shape"),
    "long name": (lambda c: layer(c, "conv").update(name="x" * 10**6), ""),
    "name": (lambda c: layer(c, "conv").update(name=3), "A layer's name"),
    "no name": (lambda c: layer(c, "conv").update(name=None), "A layer's name"),
    "units": (set_in("d", units="many"), "'d' .Dense. cannot be made: Dense: units"),
    "nothing": (set_in("d", units=None), "units"),
    "option": (set_in("d", swirl=3), "'d' .Dense. has 'swirl'=3, which is not supported"),
    "long option": (set_in("d", swirl="x" * 10**7), "'swirl'="),
    "channels first": (set_in("conv", data_format="channels_first"), "'data_format'='channels_first'"),
    "synchronized": (set_in("bn", synchronized=True), "'synchronized'=True"),
    "quantized": (set_in("d", quantization_config={"class_name": "Int8", "config": {}}), "'quantization_config'='Int8'"),
    "dtype": (set_in("d", dtype={"class_name": "DTypePolicy", "config": {"name": "mixed_bfloat16"}}), "mixed_bfloat16"),
    "dtype of nothing": (set_in("d", dtype={"class_name": "DTypePolicy"}), ""),
    "shape": (set_in("x", batch_shape=[None, 6, -6, 3]), "cannot be made"),
    "no shape": (set_in("x", batch_shape=None), "no fixed size"),
    "sparse": (set_in("x", sparse=True), "'sparse'=True"),
    "input type": (set_in("x", dtype="Tensor"), "dtype"),
    "layers": (lambda c: c["config"].update(layers={"a": 1}), "A model's layers is damaged"),
    "inputs": (lambda c: c["config"].update(input_layers=[]), "no inputs"),
    "input twice": (lambda c: c["config"].update(input_layers=[["x", 0, 0], ["x", 0, 0]]), "named twice"),
    "outputs": (lambda c: c["config"].update(output_layers=3), "damaged"),
    "no outputs": (lambda c: c["config"].update(output_layers=[]), ""),
    "calls": (lambda c: layer(c, "d").update(inbound_nodes=7), "damaged"),
    "mask": (lambda c: layer(c, "d")["inbound_nodes"][0]["kwargs"].update(mask=3), "called with 'mask'"),
    "training": (lambda c: layer(c, "d")["inbound_nodes"][0]["kwargs"].update(training="yes"), "called with 'training'"),
    "subclass": (lambda c: c.update(class_name="MyModel"), "The model 'MyModel' is a class of someone's own"),
    "layer": (lambda c: layer(c, "d").update(class_name="LSTM"), "The layer 'd' .LSTM. is not supported"),
    "ours": (lambda c: layer(c, "f").update(class_name="Torch", config={"name": "f", "module": 1}), "Torch.*is not supported"),
    "nested input": (lambda c: layer(c, "f").update(class_name="InputLayer", config={"name": "f", "batch_shape": [None, 3]}), ""),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_configurations(case: str, parts: dict[str, bytes], tmp_path: Path) -> None:
    change, message = BROKEN[case]
    assert_refused(with_config(tmp_path, parts, change), message or None)


@pytest.mark.parametrize("kind", ["Resizing", "UpSampling2D"])
def test_resizing_to_the_moon_takes_no_memory(kind: str, parts: dict[str, bytes], tmp_path: Path) -> None:
    config = (
        {"height": 10**6, "width": 10**6}
        if kind == "Resizing"
        else {"size": [10**6, 10**6], "interpolation": "bilinear"}
    )
    change = lambda c: layer(c, "bn").update(class_name=kind, config={"name": "bn", **config})  # noqa: E731
    assert_refused(with_config(tmp_path, parts, change))


# --- HDF5 --------------------------------------------------------------------------------------------------------

KERNEL = "layers/conv2d/vars/0"


def with_weights(tmp_path: Path, parts: dict[str, bytes], change: Any) -> Path:
    data = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(data, "a") as file:
        change(file)
    return pack(tmp_path / "a.keras", parts | {"model.weights.h5": data.getvalue()})


def replaced(make: Any, at: str = KERNEL) -> Any:
    def change(file: Any) -> None:
        del file[at]
        make(file, at)

    return change


def virtual(file: Any, at: str) -> None:
    layout = h5py.VirtualLayout((3, 3, 3, 4), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (3, 3, 3, 4))
    file.create_virtual_dataset(at, layout)


def links_to_itself(file: Any) -> None:
    file["layers/conv2d/again"] = file["layers"]


SHAPE = (3, 3, 3, 4)
HDF5: dict[str, tuple[Any, str]] = {
    "missing": (lambda f: f.__delitem__(KERNEL), "The weight kernel of 'conv' is missing"),
    "surplus": (lambda f: f.create_dataset("layers/conv2d/vars/2", data=np.zeros(3)), "'layers/conv2d/vars/2' that the network"),
    "other layer": (lambda f: f.create_dataset("layers/conv9/vars/0", data=np.zeros(3)), "layers/conv9"),
    "shape": (replaced(lambda f, at: f.create_dataset(at, data=np.zeros((3, 3, 4, 3), "f4"))), "kernel of 'conv' has another shape"),
    "group": (replaced(lambda f, at: f.create_group(at)), "is not an array"),
    "text": (replaced(lambda f, at: f.create_dataset(at, data=np.full(SHAPE, b"x"))), "no numbers of that kind"),
    "objects": (replaced(lambda f, at: f.create_dataset(at, SHAPE, h5py.string_dtype())), "no numbers"),
    "references": (replaced(lambda f, at: f.create_dataset(at, SHAPE, h5py.ref_dtype)), "no numbers"),
    "complex": (replaced(lambda f, at: f.create_dataset(at, SHAPE, "c8")), "no numbers"),
    "whole numbers": (replaced(lambda f, at: f.create_dataset(at, SHAPE, "i4")), "no numbers"),
    "soft link": (replaced(lambda f, at: f.__setitem__(at, h5py.SoftLink("/layers/dense/vars/0"))), "is a link to elsewhere"),
    "external link": (replaced(lambda f, at: f.__setitem__(at, h5py.ExternalLink("/etc/passwd", "/"))), "is a link to elsewhere"),
    "linked group": (replaced(lambda f, at: f.__setitem__(at, h5py.ExternalLink("b.h5", "/")), "layers"), "is a link to elsewhere"),
    "surplus link": (lambda f: f.__setitem__("layers/link", h5py.ExternalLink("b.h5", "/")), "is a link to elsewhere"),
    "external data": (
        replaced(lambda f, at: f.create_dataset(at, SHAPE, "f4", external=[("/etc/passwd", 0, 432)])), "lies in another file"
    ),
    "virtual": (replaced(virtual), "lies in another file|not believable"),
    "not stored": (replaced(lambda f, at: f.create_dataset(at, SHAPE, "f4", chunks=SHAPE)), "432 bytes of 0 stored"),
    "filter": (replaced(lambda f, at: f.create_dataset(at, data=np.zeros(SHAPE, "f4"), compression="lzf")), "packed in a way"),
    "empty": (replaced(lambda f, at: f.create_dataset(at, data=h5py.Empty("f4"))), "another shape"),
}  # fmt: skip


@pytest.mark.parametrize("case", HDF5)
def test_broken_weights(case: str, parts: dict[str, bytes], tmp_path: Path) -> None:
    change, message = HDF5[case]
    assert_refused(with_weights(tmp_path, parts, change), message)


def test_a_circle_of_groups_ends(parts: dict[str, bytes], tmp_path: Path) -> None:
    assert keras_files.read_model(with_weights(tmp_path, parts, links_to_itself), KINDS)


def test_gzip_is_read_and_a_bomb_of_it_is_not(parts: dict[str, bytes], tmp_path: Path) -> None:
    packed = replaced(lambda f, at: f.create_dataset(at, data=np.ones(SHAPE, "f4"), compression="gzip", shuffle=True))
    read, _ = keras_files.read_model(with_weights(tmp_path, parts, packed), KINDS)
    np.testing.assert_array_equal(read.get_layer("conv").get_weights()[0], np.ones(SHAPE))

    def bomb(file: Any) -> None:
        del file["layers/dense/vars/0"]
        made = file.create_dataset("layers/dense/vars/0", (64, 2**26), "f4", chunks=(1, 2**20), compression="gzip")
        made[0, : 2**20] = 1.0

    config = json.loads(parts["config.json"])
    layer(config, "d")["config"]["units"] = 2**26
    huge = parts | {"config.json": json.dumps(config).encode()}
    assert_refused(with_weights(tmp_path, huge, bomb), "not believable")


OLD: dict[str, tuple[Any, str]] = {
    "no weights": (lambda f: f.__delitem__("model_weights"), "It has no 'model_weights'"),
    "no names": (lambda f: f["model_weights"].attrs.__delitem__("layer_names"), "It has no layer_names"),
    "names": (lambda f: f["model_weights"].attrs.__setitem__("layer_names", np.arange(3)), "is not a list of texts"),
    "a name": (lambda f: f["model_weights"].attrs.__setitem__("layer_names", "conv"), "is not a list of texts"),
    "nobody": (lambda f: f["model_weights"].attrs.__setitem__("layer_names", [b"nobody"]), "It has no 'nobody'"),
    "fewer": (lambda f: f["model_weights"].attrs.__setitem__("layer_names", [b"conv"]), "other layers with weights"),
    "other weights": (lambda f: f["model_weights/conv"].attrs.__setitem__("weight_names", [b"a", b"b"]), "other weights than"),
    "links": (lambda f: (f.__delitem__("model_weights/conv"),
                         f.__setitem__("model_weights/conv", h5py.ExternalLink("b.h5", "/"))), "link to elsewhere"),
    "Keras 1": (lambda f: f["model_weights"].attrs.__setitem__("keras_version", b"1.2.2"), "written by Keras '1.2.2'"),
    "a number": (lambda f: f.attrs.__setitem__("model_config", 3), "model_config is not a text"),
    "references": (lambda f: f.attrs.__setitem__("model_config", f.ref), "model_config is not a text"),
}  # fmt: skip


@pytest.mark.parametrize("case", OLD)
def test_broken_h5(case: str, sound_h5: bytes, tmp_path: Path) -> None:
    change, message = OLD[case]
    (tmp_path / "a.h5").write_bytes(sound_h5)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        change(file)
    assert_refused(tmp_path / "a.h5", message)


# --- chance ------------------------------------------------------------------------------------------------------

VALUES = [None, True, -1, 0, 10**12, 1.5, float("nan"), float("inf"), "", "x", "relu", [], [[]], {}, {"class_name": "Zeros", "config": {}},
          {"class_name": "Conv2D"}, [None, 6, 6, 3], ["conv", 0, 0], "../x", "channels_first"]  # fmt: skip


def spots(value: Any, found: list[Any]) -> list[Any]:
    """Every (holder, key) within JSON."""
    items = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, item in items:
        found.append((value, key))
        spots(item, found)
    return found


def loads_or_refuses(path: Path) -> bool:
    try:
        keras_files.read_model(path, KINDS)
    except ModelFileError as error:
        assert str(path) in str(error)  # noqa: PT017 - a file that loads is as good
        return False
    return True


@pytest.mark.filterwarnings("ignore:.*not compiled", "ignore:.*does not fit, so it begins anew")
def test_json_values_replaced_by_chance(parts: dict[str, bytes], tmp_path: Path) -> None:
    rng, outcomes = random.Random(0), set()
    for _ in range(150):
        config = json.loads(parts["config.json"])
        for _ in range(rng.choice([1, 1, 1, 3])):
            holder, key = rng.choice(spots(config, []))
            if isinstance(holder, dict) and rng.random() < 0.2:
                del holder[key]
            else:
                holder[key] = copy.deepcopy(rng.choice(VALUES))
        text = json.dumps(config).encode()
        outcomes.add(loads_or_refuses(pack(tmp_path / "a.keras", parts | {"config.json": text})))
    assert outcomes == {True, False}


@pytest.mark.filterwarnings("ignore:.*not compiled", "ignore:.*does not fit, so it begins anew")
@pytest.mark.parametrize("suffix", ["keras", "h5", "weights"])
def test_bytes_changed_by_chance(suffix: str, parts: dict[str, bytes], sound_h5: bytes, tmp_path: Path) -> None:
    rng, path, outcomes = random.Random(1), tmp_path / f"a.{suffix}", set()
    whole = sound_h5 if suffix == "h5" else pack(path, parts).read_bytes()
    for _ in range(100):
        data = bytearray(parts["model.weights.h5"] if suffix == "weights" else whole)
        for _ in range(rng.choice([1, 4, 16])):
            # HDF5's own structures, which stand at the beginning, are hit more often than numbers
            data[rng.randrange(min(len(data), rng.choice([2000, len(data)])))] = rng.randrange(256)
        if suffix == "weights":
            pack(path, parts | {"model.weights.h5": bytes(data)})
        else:
            path.write_bytes(data)
        outcomes.add(loads_or_refuses(path))
    assert False in outcomes


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_weights_alone_from_hostile_files(
    suffix: str, parts: dict[str, bytes], sound_h5: bytes, tmp_path: Path
) -> None:
    mine, path = network(), tmp_path / f"a.{suffix}"
    path.write_bytes(sound_h5 if suffix == "h5" else pack(path, parts).read_bytes())
    keras_files.read_weights(mine, path)
    before = mine.get_weights()
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ModelFileError, match=str(path)):
        keras_files.read_weights(mine, path)
    for actual, expected in zip(mine.get_weights(), before, strict=True):
        np.testing.assert_array_equal(actual, expected)
