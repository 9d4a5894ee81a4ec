"""What a model sees: decided by the images, unless an option does."""

import numpy as np
import pytest
from jaxtyping import UInt8

from retrieval.cli.commands.train import describe_choice
from retrieval.config import load_settings
from retrieval.images.decode import encode_png
from retrieval.model.config import TRUNK
from retrieval.sources import Entry
from retrieval.train.data import ChosenTrunk, choose_trunk, read_training_images
from retrieval.train.job import train_and_save
from retrieval.train.options import TrainOptions
from retrieval.train.types import Hosts
from tests.train.samples import entry
from tests.train.test_drawings import gradients
from tests.train.test_job import BROKEN, ListSource
from tests.train.test_mirror import digits


def entries(images: UInt8[np.ndarray, "n h w c"]) -> list[Entry]:
    return [entry(f"{number}.png", encode_png(image)) for number, image in enumerate(images)]


@pytest.fixture(scope="module")
def drawn() -> list[Entry]:
    return entries(digits(60))


@pytest.fixture(scope="module")
def photographs() -> list[Entry]:
    return entries(gradients(60))


def test_drawings_get_a_network_of_their_pixels(drawn: list[Entry]) -> None:
    assert choose_trunk([*drawn, BROKEN], TrainOptions()) == ChosenTrunk("none", 1.0)


def test_photographs_get_the_trunk(photographs: list[Entry]) -> None:
    found = choose_trunk([*photographs, BROKEN], TrainOptions())
    assert found.trunk == "photos"
    assert found.drawn_share is not None
    assert found.drawn_share < 0.1


def test_of_half_and_half_the_larger_half_decides(drawn: list[Entry], photographs: list[Entry]) -> None:
    assert choose_trunk([*drawn, *photographs[:40]], TrainOptions()).trunk == "none"
    assert choose_trunk([*drawn[:40], *photographs], TrainOptions()).trunk == "photos"


def test_where_nothing_can_be_read_training_says_why() -> None:
    assert choose_trunk([BROKEN], TrainOptions()) == ChosenTrunk("none")
    assert choose_trunk([], TrainOptions()) == ChosenTrunk("none")


@pytest.mark.parametrize(
    "options",
    [
        TrainOptions(preset="small"),
        TrainOptions(objective="denoising"),
        TrainOptions(channels=1),
        TrainOptions(image_size=(64, 64)),
        TrainOptions(hosts=Hosts("host:1", 2, 0)),
        TrainOptions(trunk="none"),
    ],
)
def test_options_that_only_a_model_of_pixels_has_decide(options: TrainOptions, photographs: list[Entry]) -> None:
    assert choose_trunk(photographs, options) == ChosenTrunk("none")
    assert choose_trunk(photographs, TrainOptions(trunk="photos")) == ChosenTrunk("photos")


def test_images_are_read_as_the_choice_needs_them(drawn: list[Entry], photographs: list[Entry]) -> None:
    shapes = [
        read_training_images([ListSource(listed)], TrainOptions(), lambda done, total: None).images.shape
        for listed in (drawn, photographs)
    ]
    assert shapes == [(60, 28, 28, 1), (60, 160, 160, 3)]


def test_the_choice_and_its_reason_are_in_the_metrics_and_said(drawn: list[Entry]) -> None:
    model, _ = train_and_save([ListSource(drawn)], load_settings(), TrainOptions(epochs=1, dim=4))
    assert (model.config.trunk, model.metrics["drawn_share"]) == (None, 1.0)
    assert (
        describe_choice(model.metrics) == "Drawings (100% of the images): the model learns from their pixels alone.\n"
    )
    assert "drawn share | 1 |" in (model.path / "README.md").read_text()
    assert "2% drawings" in describe_choice({"trunk": TRUNK, "drawn_share": 0.02})
    assert describe_choice({"trunk": TRUNK}) == ""
