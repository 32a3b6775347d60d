"""Everything that a paying test network has besides its nodes: the chain with its faucet, and the signers.

    async with Localnet(LocalnetOptions(pay=True)) as net:
        await net.payments.fund("n1…", 200_000_000)
        net.payments.signers[0].faults.down = True

They run in the process of whoever started the network; the gateways talk to them by HTTP alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final, Protocol

from nym_credentials.chain.wallet import Wallet
from nym_credentials.money import Coin
from nym_credentials.networks import ChainNetwork, dump_env, dump_network
from nym_localnet.chain.accounts import phrase_for, wallet_for
from nym_localnet.chain.chain import TxResult
from nym_localnet.chain.dkg_contract import DkgEpoch, KeyShare
from nym_localnet.chain.faucet import FAUCET_FUNDS, Faucet
from nym_localnet.chain.faults import ChainFaults
from nym_localnet.chain.genesis import Nyx, default_contracts, new_chain
from nym_localnet.chain.server_io import ChainServer
from nym_localnet.desk_settings import DeskSettings
from nym_localnet.ecash.key_epochs import EpochKeys, KeyEpochs
from nym_localnet.ecash.signer_io import Signer
from nym_localnet.ecash.signer_rules import SignerRules, utc_day
from nym_localnet.ecash.signer_store_io import SignerStore
from nym_localnet.errors import StartFailed
from nym_localnet.folder import env_text, write_file
from nym_localnet.payment_options import DENOM, DISPLAY_DENOM, EXPONENT, PREFIX, PaymentOptions
from nym_localnet.sphinx_keys import derive
from nym_mixnet.keys import SigningKey
from zknym import b58encode, default_expiration

CHAIN_FILE: Final = "chain.json"
FAUCET_FILE: Final = "faucet.phrase"
CHAIN_NAME: Final = "chain"
FAUCET: Final = "faucet"
ADMIN: Final = "admin"
GATEWAY_FUNDS: Final = 5_000_000
"""unym; gateways of the reference insist on 1 000 000"""


class Listen(Protocol):
    """Begins to serve at a port, or at any for 0; returns the port."""

    async def __call__(self, *, port: int) -> int: ...


def signer_name(index: int) -> str:
    """signer1 and so on."""
    return f"signer{index}"


@dataclass(frozen=True, slots=True)
class TicketBooks:
    """The network's own accounts of what was bought and spent, to compare a client's with."""

    deposits: int
    deposited: int
    """unym"""
    issued: tuple[int, ...]
    """shares of books, by signer"""
    tickets: tuple[Mapping[str, int], ...]
    """tickets found good, by signer and gateway account"""


class Payments:
    """Chain, faucet and signers."""

    def __init__(
        self,
        options: PaymentOptions,
        seed: bytes,
        *,
        data_dir: Path,
        durable: bool,
        gateways: Sequence[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.options = options
        self.data_dir = data_dir
        self.signers: list[Signer] = []
        """in the order of their numbers, from 1"""
        self.keys = KeyEpochs()
        self._seed = seed
        self._durable = durable
        self._gateways = tuple(gateways)
        self._clock = clock
        self._wallets: dict[str, Wallet] = {}
        self._chain: ChainServer | None = None

    # Life

    async def start(self, remembered: Mapping[str, int]) -> dict[str, int]:
        """Bring up chain and signers. Takes and returns ports by name: `chain`, `signer1` and so on."""
        options = self.options
        names = [FAUCET, ADMIN, *self._gateways, *map(signer_name, range(1, options.signers + 1))]
        self._wallets, nyx_file = await asyncio.to_thread(self._make_wallets, names), self._file(CHAIN_FILE)
        nyx = self._new_chain()
        faucet = Faucet(self._wallets[FAUCET], nyx.chain)
        self._chain = ChainServer(
            nyx,
            faucet,
            block_seconds=options.block_seconds,
            faucet_amount=options.faucet_amount,
            state_file=nyx_file if self._durable else None,
            clock=self._clock,
        )
        known = self._chain.load()
        epochs = range(options.initial_epoch, max(options.initial_epoch, nyx.dkg.current_epoch) + 1)
        for epoch_id in epochs:
            self.keys.add(await asyncio.to_thread(self._generate, epoch_id))
        ports = {
            CHAIN_NAME: await self._listen(CHAIN_NAME, options.chain_port, remembered, self._chain.start)
        }
        for index in range(1, options.signers + 1):
            name = signer_name(index)
            signer = self._new_signer(index, nyx)
            self.signers.append(signer)
            wanted = options.first_signer_port + index - 1 if options.first_signer_port else 0
            ports[name] = await self._listen(name, wanted, remembered, signer.start)
        if known:
            self._announce(nyx)
        else:
            nyx.dkg.begin_epoch(self._published(options.initial_epoch), self._clock())
        self._chain.save()
        await asyncio.to_thread(self.prepare, nyx.dkg.current_epoch)
        write_file(self.faucet_phrase_file, self.faucet_phrase + "\n", mode=0o600)
        return ports

    async def close(self) -> None:
        """Stop everything."""
        for signer in self.signers:
            await signer.close()
        if self._chain is not None:
            await self._chain.close()

    # What there is

    @property
    def chain(self) -> ChainServer:
        """The node of the chain."""
        assert self._chain is not None, "the network is not up"
        return self._chain

    @property
    def nyx(self) -> Nyx:
        """The chain's state and contracts."""
        return self.chain.nyx

    @property
    def faults(self) -> ChainFaults:
        """Trouble with the chain, on demand."""
        return self.nyx.faults

    @property
    def rpc_url(self) -> str:
        """Where the chain speaks JSON-RPC."""
        return self.chain.url

    @property
    def faucet_url(self) -> str:
        """`POST` an address there."""
        return self.chain.faucet_url

    @property
    def faucet_phrase(self) -> str:
        """The recovery phrase of the faucet's account."""
        return phrase_for(self._seed, FAUCET)

    @property
    def faucet_phrase_file(self) -> Path:
        """Where that phrase is written, for the owner's eyes only."""
        return self._file(FAUCET_FILE)

    def phrase(self, name: str) -> str:
        """The recovery phrase of one of the network's own accounts: a gateway, a signer, `admin`, `faucet`."""
        return phrase_for(self._seed, name)

    def address(self, name: str) -> str:
        """The address of one of the network's own accounts."""
        return self._wallets[name].address

    @property
    def epoch(self) -> EpochKeys:
        """All keys of the current epoch."""
        keys = self.keys.epoch(self.nyx.dkg.current_epoch)
        assert keys is not None
        return keys

    def network(self, nym_api_url: str) -> ChainNetwork:
        """What a client has to know."""
        return ChainNetwork(
            name="localnet",
            contracts=self.nyx.contracts,
            rpc_urls=(self.rpc_url,),
            nym_api_urls=(nym_api_url,),
            prefix=PREFIX,
            denom=DENOM,
            display_denom=DISPLAY_DENOM,
            exponent=EXPONENT,
            chain_id=self.options.chain_id,
        )

    def network_toml(self, nym_api_url: str) -> str:
        """The network file for programs of ours."""
        return dump_network(self.network(nym_api_url))

    def network_env(self, nym_api_url: str) -> str:
        """The environment file for programs of upstream's."""
        return env_text(dump_env(self.network(nym_api_url)))

    def desk_settings(self, gateway: str) -> DeskSettings:
        """How a gateway takes tickets."""
        return DeskSettings(
            rpc_url=self.rpc_url,
            dkg_address=self.nyx.contracts.coconut_dkg,
            account=self.address(gateway),
            scale=self.options.ticket_scale,
            penalty=self.options.ticket_penalty,
            retry_seconds=self.options.ticket_retry_seconds,
        )

    async def books(self) -> TicketBooks:
        """What the chain and the signers have on record."""
        ecash = self.nyx.ecash
        return TicketBooks(
            ecash.deposits,
            ecash.deposited,
            tuple([await signer.store.book_count() for signer in self.signers]),
            tuple([await signer.store.ticket_counts() for signer in self.signers]),
        )

    # What can be done

    async def fund(self, address: str, amount: int | None = None) -> TxResult:
        """Let the faucet send unym to an address; returns when they are there."""
        return await self.chain.fund(address, self.options.faucet_amount if amount is None else amount)

    def balance(self, address: str) -> int:
        """unym of an address."""
        return self.nyx.chain.ledger.balance(address, self.nyx.chain.denom)

    def set_price(self, amount: int) -> None:
        """Another price of books from now on, in unym."""
        self.nyx.ecash.price = Coin(DENOM, amount)

    def set_reduced_price(self, address: str, amount: int | None) -> None:
        """A price of its own for one account; None takes it away."""
        self.nyx.ecash.set_reduced_price(address, None if amount is None else Coin(DENOM, amount))

    async def next_epoch(self) -> int:
        """New keys for all signers; returns the number of the epoch. Books of the old one stay good."""
        epoch_id = self.nyx.dkg.current_epoch + 1
        self.keys.add(await asyncio.to_thread(self._generate, epoch_id))
        self.nyx.dkg.begin_epoch(self._published(epoch_id), self._clock())
        self.chain.save()
        await asyncio.to_thread(self.prepare, epoch_id)
        return epoch_id

    def prepare(self, epoch_id: int, expiration: date | None = None) -> None:
        """Make the public signatures of an epoch for books bought today before anybody asks. Takes a tenth second."""
        indices = [signer.index for signer in self.signers]
        self.keys.coins(epoch_id, indices)
        day = expiration or default_expiration(utc_day(self._clock()))
        self.keys.dates(epoch_id, day, indices)

    # Inside

    def _file(self, name: str) -> Path:
        return self.data_dir / name

    def _make_wallets(self, names: Sequence[str]) -> dict[str, Wallet]:
        return {name: wallet_for(self._seed, name, PREFIX) for name in names}

    def _generate(self, epoch_id: int) -> EpochKeys:
        return EpochKeys.generate(self._seed, epoch_id, self.options.threshold, self.options.signers)

    def _new_chain(self) -> Nyx:
        options = self.options
        balances = dict(options.balances)
        balances[self.address(FAUCET)] = FAUCET_FUNDS
        for name in (ADMIN, *self._gateways):
            balances[self.address(name)] = GATEWAY_FUNDS
        return new_chain(
            chain_id=options.chain_id,
            prefix=PREFIX,
            denom=DENOM,
            price=options.price,
            admin=self.address(ADMIN),
            signers=tuple(self.address(signer_name(i)) for i in range(1, options.signers + 1)),
            genesis_unix=self._clock(),
            contracts=default_contracts(PREFIX),
            reduced_prices=options.reduced_prices,
            balances=balances,
        )

    def _new_signer(self, index: int, nyx: Nyx) -> Signer:
        name = signer_name(index)
        path = self.data_dir / name / "signer.sqlite" if self._durable else None
        return Signer(
            SignerRules(self.address(name), index, dkg=nyx.dkg, ecash=nyx.ecash, keys=self.keys),
            self._identity_seed(index),
            SignerStore(path, durable=self._durable),
            multisig=nyx.multisig,
            ecash_address=nyx.ecash.address,
            peers=self.signers,
            clock=self._clock,
        )

    def _identity_seed(self, index: int) -> bytes:
        return derive(self._seed, f"identity of {signer_name(index)}")

    def _published(self, epoch_id: int) -> DkgEpoch:
        keys = self.keys.epoch(epoch_id)
        assert keys is not None
        shares = tuple(
            KeyShare(
                owner=self.address(signer_name(signer.index)),
                node_index=signer.index,
                key=b58encode(signer.verification.encode()),
                announce_address=self.signers[signer.index - 1].url,
                ed25519_identity=b58encode(SigningKey(self._identity_seed(signer.index)).public),
            )
            for signer in keys.signers
        )
        return DkgEpoch(epoch_id, keys.threshold, shares)

    def _announce(self, nyx: Nyx) -> None:
        """A network that came back may listen elsewhere."""
        for epoch_id in range(self.options.initial_epoch, nyx.dkg.current_epoch + 1):
            kept, made = nyx.dkg.epoch(epoch_id), self._published(epoch_id)
            if kept is None or {share.key for share in kept.shares} != {share.key for share in made.shares}:
                raise StartFailed(
                    f"{self.data_dir} was made with other signers, another threshold or first epoch: "
                    "start it with those, or with an empty folder"
                )
            for signer in self.signers:
                nyx.dkg.announce(epoch_id, signer.index, signer.url)

    async def _listen(self, name: str, wanted: int, remembered: Mapping[str, int], start: Listen) -> int:
        known = wanted or remembered.get(name, 0)
        try:
            return await start(port=known)
        except OSError as error:
            if wanted or not known:
                raise StartFailed(f"{name} cannot listen: {error.strerror or error}") from error
            return await start(port=0)
