"""What can be configured. The texts of the fields below are the reference page (``config_docs`` renders it).

Only what has an effect is here: a key that a later version will know is an error in this one, because a
limit that is read and then ignored is worse than none. Where values come from, and in which order, is in
``config_layers``.
"""

from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Annotated

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from nymgate.sections.access import Access, Admission, Rules
from nymgate.sections.isolation import Isolation
from nymgate.sections.listen import Listen, Streams
from nymgate.sections.log import Log
from nymgate.sections.mixnet import Mixnet
from nymgate.sections.money import Account, Budget, Store, Tickets
from nymgate.sections.types import setting

SourceFactory = Callable[[type[BaseSettings]], PydanticBaseSettingsSource]
LAYERS: ContextVar[Sequence[SourceFactory]] = ContextVar("LAYERS", default=())
"""Where ``Config()`` takes its values from, the strongest first; ``config_layers.load`` sets it."""


class Config(BaseSettings):
    """The whole configuration. Keys at the top stand before the first [table] of the file."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=False)

    network: Annotated[str, Field(min_length=1)] = setting(
        "mainnet",
        "Which Nym network. localnet is the one that `nymgate localnet up` keeps running on this machine; "
        "a path names a network file (TOML with `name`, `nym_api` and `[chain]`) or one of upstream's .env files.",
        "mainnet, sandbox, localnet or the path of a network file",
        flag="--network",
    )
    data_dir: str = setting(
        "",
        "Folder of keys and state, made with mode 0700. Empty: $XDG_DATA_HOME/nymgate, which is "
        "~/.local/share/nymgate where that variable is unset. One running instance per folder.",
        "the path of a folder, or empty",
        flag="--data-dir",
    )
    workers: Annotated[int, Field(ge=1, le=64)] = setting(
        1,
        "Processes that share the listening addresses, for machines with several cores. Each has a mixnet identity "
        "of its own, with its own traffic: so many times the cost.",
        "a whole number from 1 to 64",
        flag="--workers",
    )
    listen: Listen = Field(default_factory=Listen)
    mixnet: Mixnet = Field(default_factory=Mixnet)
    tickets: Tickets = Field(default_factory=Tickets)
    budget: Budget = Field(default_factory=Budget)
    account: Account = Field(default_factory=Account)
    store: Store = Field(default_factory=Store)
    streams: Streams = Field(default_factory=Streams)
    access: Access = Field(default_factory=Access)
    rules: Rules = Field(default_factory=Rules)
    admission: Admission = Field(default_factory=Admission)
    isolation: Isolation = Field(default_factory=Isolation)
    log: Log = Field(default_factory=Log)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The layers instead of the library's own environment source, which has no way to tell origins."""
        return (init_settings, *(source(settings_cls) for source in LAYERS.get()))
