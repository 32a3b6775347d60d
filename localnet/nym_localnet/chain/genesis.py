"""The chain of a new network: contracts at addresses that are the same in every network, and first coins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nym_credentials.money import Coin
from nym_credentials.networks import Contracts
from nym_localnet.chain.chain import Chain
from nym_localnet.chain.contract import contract_address
from nym_localnet.chain.dkg_contract import DkgContract
from nym_localnet.chain.ecash_contract import EcashContract
from nym_localnet.chain.faults import ChainFaults
from nym_localnet.chain.voting_contracts import Group, Multisig


@dataclass(frozen=True, slots=True)
class Nyx:
    """A chain and the contracts that live on it."""

    chain: Chain
    ecash: EcashContract
    dkg: DkgContract
    multisig: Multisig
    group: Group
    contracts: Contracts

    @property
    def faults(self) -> ChainFaults:
        """Trouble on demand."""
        return self.chain.faults


def default_contracts(prefix: str) -> Contracts:
    """As if they had been instantiated in this order on a new chain."""
    addresses = [contract_address(prefix, number) for number in range(1, 7)]
    mixnet, vesting, group, multisig, dkg, ecash = addresses
    return Contracts(
        ecash=ecash, coconut_dkg=dkg, multisig=multisig, group=group, mixnet=mixnet, vesting=vesting
    )


def new_chain(
    *,
    chain_id: str,
    prefix: str,
    denom: str,
    price: int,
    admin: str,
    signers: tuple[str, ...],
    genesis_unix: float,
    contracts: Contracts | None = None,
    reduced_prices: Mapping[str, int] | None = None,
    balances: Mapping[str, int] | None = None,
    height: int = 1,
) -> Nyx:
    """A chain at its first block. `signers`: addresses of the group's members. The DKG waits to be begun."""
    addresses = contracts or default_contracts(prefix)
    assert addresses.multisig is not None
    assert addresses.group is not None
    chain = Chain(chain_id=chain_id, prefix=prefix, denom=denom, genesis_unix=genesis_unix, height=height)
    group = Group(addresses.group, signers)
    multisig = Multisig(addresses.multisig, group)
    ecash = EcashContract(
        addresses.ecash, admin=admin, price=Coin(denom, price), prefix=prefix, multisig=multisig
    )
    dkg = DkgContract(addresses.coconut_dkg, denom=denom, multisig=multisig.address, group=group.address)
    for contract in (ecash, dkg, multisig, group):
        chain.install(contract)
    for address, amount in (reduced_prices or {}).items():
        ecash.set_reduced_price(address, Coin(denom, amount))
    for address, amount in (balances or {}).items():
        chain.ledger.mint(address, Coin(denom, amount))
    return Nyx(chain, ecash, dkg, multisig, group, addresses)
