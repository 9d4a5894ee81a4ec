"""Which saved model a command uses, and how it is loaded."""

from typing import TYPE_CHECKING

from retrieval.config import Settings
from retrieval.errors import ModelError
from retrieval.model import saved_models
from retrieval.model.saved_models import SavedModel
from retrieval.store.base import Store, require_model

if TYPE_CHECKING:
    from retrieval.model.encoder import Encoder
    from retrieval.model.lazy_encoder import LazyEncoder


def load_model(settings: Settings, model: str | None) -> SavedModel:
    """The model that `--model` names (default: the default model); raises ModelError."""
    return saved_models.load(saved_models.find(settings.models, model))


def model_of(store: Store, collection: str | None, settings: Settings, model: str | None) -> SavedModel:
    """The model for a collection.

    collection: None if there is none yet
    model: what `--model` says; None: the model that made the collection, or without a collection the default model
    Raises ModelError when the named model did not make the collection, or when the model is not on this machine.
    """
    if collection is None:
        return load_model(settings, model)
    if model is None:
        return load_collection_model(settings, collection, store.metadata(collection).model)
    named = load_model(settings, model)
    require_model(store, collection, named.fingerprint)
    return named


def load_collection_model(settings: Settings, collection: str, fingerprint: str) -> SavedModel:
    """The model that made a collection; raises ModelError when it is not on this machine, or damaged."""
    model = saved_models.load_by_fingerprint(settings.models, fingerprint)
    if model is None:
        raise ModelError(
            f"collection {collection} holds embeddings of model {fingerprint[:8]}, which is not in {settings.models}",
            hint=(
                f"copy the folder {fingerprint[:16]} there from the machine that made the collection, or make a new"
                " one with another model: retrieval reindex --model MODEL"
            ),
        )
    return model


def model_for_writing(store: Store, collection: str | None, settings: Settings, model: str | None) -> SavedModel:
    """As `model_of`, for a job that writes: also copies the model to the home, where searches look for it."""
    return saved_models.copy_to_home(settings.models, model_of(store, collection, settings, model))


def make_encoder(settings: Settings, model: SavedModel) -> "Encoder":
    """Make the model ready to run. Imports JAX."""
    from retrieval.model.encoder import Encoder, use_compilation_cache

    use_compilation_cache(settings.xla_cache)
    return Encoder(model)


def make_lazy_encoder(settings: Settings, model: SavedModel) -> "LazyEncoder":
    """As `make_encoder`, ready at once for a few images; JAX is imported when there are more."""
    from retrieval.model.lazy_encoder import LazyEncoder

    return LazyEncoder(model, settings.xla_cache)
