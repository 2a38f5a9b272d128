"""The demo's vocabulary, read from the YAML file beside this one."""

from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict


class Theme(BaseModel):
    """What a theme looks like in words and colours."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    genre: str
    things: tuple[str, ...]
    traits: tuple[str, ...]
    places: tuple[str, ...]
    heroes: tuple[str, ...]
    deeds: tuple[str, ...]
    """What a hero does, in the third person."""
    colours: tuple[str, str, str]
    """Ground, shapes and accent of a cover."""
    shape: str


class Words(BaseModel):
    """Themes, and the templates that their words go into."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    themes: tuple[Theme, ...]
    film_titles: tuple[str, ...]
    book_titles: tuple[str, ...]
    film_sentences: tuple[str, ...]
    book_sentences: tuple[str, ...]
    first_names: tuple[str, ...]
    last_names: tuple[str, ...]
    cities: tuple[str, ...]


@cache
def load_words() -> Words:
    """The whole vocabulary."""
    text = Path(__file__).with_suffix(".yaml").read_text("utf-8")
    return Words.model_validate(yaml.safe_load(text))
