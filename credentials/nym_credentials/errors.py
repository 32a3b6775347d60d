"""Everything that can go wrong between an empty wallet and a ticket that a gateway accepts.

``layer`` names the part it happened in ("wallet", "chain", "signers", "tickets"), ``retryable`` tells whether the
same call may succeed later without anybody doing something. The text says what happened and what to do. No message
contains a phrase, a key, a ticket or any other secret.

::

    CredentialsError
    ├── InvalidAmount                 wallet    a text that is no amount of money
    ├── NetworkDescriptionInvalid     chain     a network file or .env that cannot be used; names the field
    ├── WalletError                   wallet
    │   ├── PhraseInvalid                       not a BIP-39 phrase; names the position of the word, never the word
    │   ├── AddressInvalid                      not a bech32 address of this network
    │   ├── AccountUnfunded                     the account never received coins: it does not exist on chain
    │   └── InsufficientFunds                   the balance does not cover price and fee; nothing was spent
    ├── ChainError                    chain
    │   ├── ChainUnreachable          retry     no endpoint answered
    │   ├── NodeStale                 retry     the node is behind: its "not found" means nothing
    │   ├── WrongChain                          endpoints disagree on the chain id, or it is not the expected one
    │   ├── MalformedChainData        retry     bytes or JSON that are not what the protocol says; names the field
    │   ├── RpcRefused                          a JSON-RPC error
    │   ├── QueryRefused                        an ABCI query or simulation with a code other than 0
    │   ├── ContractRefused                     a contract answered with an error
    │   ├── PriceChanged              retry     the contract asks for another amount now; nothing was spent
    │   ├── OutOfGas                  retry     the gas limit was too low
    │   ├── FeeTooHigh                          an absurd fee: the node may be lying about gas; nothing was signed
    │   ├── SubmissionUnclear         retry     the transaction may be on its way: ask for its outcome
    │   ├── DepositIdsUnclear                   included, but the ids of the deposits cannot be told: look them up
    │   └── TransactionRefused                  CheckTx refused the bytes: nothing was spent
    │       ├── SequenceMismatch      retry     another transaction of this account came first
    │       ├── SignatureRefused                signature, chain id or account number are wrong
    │       ├── FeeTooLow                       the node asks for more than the fee of this network
    │       └── MempoolFull           retry     the node takes no transactions at the moment
    ├── SignersError                  signers   those who issue books; what was paid stays paid and is taken up again
    │   ├── SignerFailed                        one signer did not give what it was asked for; names it
    │   ├── QuorumMissing             retry     too few signers are well; nothing was paid
    │   ├── IssuanceHalted            retry     the signers are making new keys
    │   ├── EpochKeysInconsistent     retry     the shares on the chain do not form one key
    │   ├── EpochDataUnavailable      retry     no signer gave public signatures that verify
    │   └── IssuanceIncomplete        retry     paid, but too few valid shares so far
    ├── PurchaseError                 chain     one purchase of a book
    │   ├── PurchaseConflict          retry     another process works on the same purchase
    │   ├── PurchaseUnreadable                  a stored purchase is damaged, or of a newer program
    │   ├── PurchaseDeclined                    the question for price and fee was answered with no
    │   ├── PaymentUnconfirmed        retry     sent, and not seen on the chain yet: it is looked for again
    │   └── PaymentFailed                       it failed inside a block: the fee is spent, the deposit is not made
    ├── StoreError                    tickets   the ticket store
    │   ├── StoreInUse                retry     another process holds it in a way that does not go together
    │   ├── StoreUnreachable          retry     the database server does not answer, or a connection to it broke
    │   ├── StoreMoved                          its content is in another store now
    │   ├── StoreUnusable                       damaged, not writable, or written by a newer program
    │   ├── StoreKeyWrong                       the key does not open this store, or there is none
    │   ├── StoreOfAnotherNetwork               its books are of another network
    │   ├── BackupRestored                      an old backup or a copy: spending from it would be double spending
    │   └── BookRefused                         a book cannot be imported, exported or released
    │       ├── BookAlreadyHere                 the store has (or had) this very book
    │       └── BookUsed                        tickets of it were spent elsewhere, nobody said how many
    └── TicketUnavailable             tickets   no ticket can be paid with now
        ├── OutOfTickets                        no book with tickets left: buy one
        ├── PublicDataMissing         retry     the book's epoch key or signatures are not in the store
        ├── ClockSkewed               retry     the clock is so wrong that gateways would refuse the ticket
        ├── NearMidnight              retry     too close to 00:00 UTC: which day it is would be anybody's guess
        ├── GatewayPaused             retry     the gateway refused the last ticket: none is risked there for now
        ├── GatewayOvercharges                  the gateway took more from the allowance than was sent
        └── GatewayInDebt                       the allowance there is negative: a ticket would vanish in it
"""

from __future__ import annotations

from typing import ClassVar, Final

_PEER_TEXT_CHARACTERS: Final = 300


def printable(text: str, limit: int = _PEER_TEXT_CHARACTERS) -> str:
    """A peer's text made safe for logs: one line, no control characters, at most `limit` characters."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[: limit + 1])
    return line if len(line) <= limit else line[:limit] + "…"


class CredentialsError(Exception):
    """Root of the tree above: what happened, and what to do about it."""

    layer: ClassVar[str] = "tickets"
    retryable: ClassVar[bool] = False

    def __init__(self, happened: str, to_do: str = "") -> None:
        super().__init__(f"{happened} {to_do}" if to_do else happened)
        self.happened = happened
        self.to_do = to_do


class InvalidAmount(CredentialsError):
    """A text that is no amount of money."""

    layer = "wallet"


class NetworkDescriptionInvalid(CredentialsError):
    """A network file that cannot be used. ``field`` is the key that is wrong."""

    layer = "chain"

    def __init__(self, where: str, field: str, happened: str, to_do: str = "") -> None:
        super().__init__(f"{where}: {field} {happened}", to_do)
        self.field = field


class WalletError(CredentialsError):
    """The account, its phrase or its money."""

    layer = "wallet"


class PhraseInvalid(WalletError):
    """Not a BIP-39 phrase. ``position`` counts words from 1; None if it is the phrase as a whole."""

    def __init__(self, happened: str, to_do: str = "", position: int | None = None) -> None:
        super().__init__(happened, to_do)
        self.position = position


class AddressInvalid(WalletError):
    """Not a bech32 address of this network."""


class AccountUnfunded(WalletError):
    """The address never received coins, so the chain knows no account."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"The account {address} does not exist on the chain: it never received any coins.",
            "Send NYM to that address first.",
        )
        self.address = address


class InsufficientFunds(WalletError):
    """Price and fee are more than the balance. Nothing was spent."""


class ChainError(CredentialsError):
    """The chain, its nodes or its contracts."""

    layer = "chain"


class ChainUnreachable(ChainError):
    """No endpoint answered."""

    retryable = True


class NodeStale(ChainError):
    """A node that is still catching up or stopped at an old block."""

    retryable = True


class WrongChain(ChainError):
    """Endpoints that disagree on the chain id, or a chain id other than expected. Nothing is signed."""


class MalformedChainData(ChainError):
    """Data that is not what the protocol says. ``field`` is the member, ``endpoint`` who sent it (may be empty)."""

    retryable = True

    def __init__(self, field: str, expected: str, endpoint: str = "") -> None:
        source = f"The answer of {endpoint}" if endpoint else "Data of the chain"
        super().__init__(
            f"{source} is malformed: {field} should be {expected}.",
            "Try again, or name another RPC endpoint." if endpoint else "",
        )
        self.field = field
        self.expected = expected
        self.endpoint = endpoint

    def under(self, outer: str) -> MalformedChainData:
        """The same, with the name of the object around the field."""
        return MalformedChainData(
            f"{outer}.{self.field}" if self.field else outer, self.expected, self.endpoint
        )

    def at(self, endpoint: str) -> MalformedChainData:
        """The same, with the name of who sent it."""
        return MalformedChainData(self.field, self.expected, endpoint)


class RpcRefused(ChainError):
    """A JSON-RPC error: ``code``, ``message`` and ``data`` are the node's words."""

    def __init__(self, endpoint: str, method: str, code: int, message: str, data: str) -> None:
        detail = f": {printable(data)}" if data else ""
        super().__init__(f"{endpoint} refused {method}: {printable(message)} ({code}){detail}.")
        self.code = code
        self.message = message
        self.data = data


class _Coded(ChainError):
    """An ABCI code with its codespace and the node's log."""

    def __init__(
        self, happened: str, to_do: str = "", *, code: int = 0, codespace: str = "", log: str = ""
    ) -> None:
        super().__init__(happened, to_do)
        self.code = code
        self.codespace = codespace
        self.log = log


class QueryRefused(_Coded):
    """An ABCI query that the application refused."""


class ContractRefused(_Coded):
    """A contract answered with an error; in a simulation nothing was spent."""


class PriceChanged(_Coded):
    """The contract asks for another amount than the one just quoted. Nothing was spent."""

    retryable = True


class FeeTooHigh(ChainError):
    """A fee above the limit of this program: a node that lies about gas could spend the balance. Nothing was signed."""


class SubmissionUnclear(ChainError):
    """No clear answer to a broadcast: the transaction may be on its way. Its hash tells, sooner or later."""

    retryable = True


class OutOfGas(_Coded):
    """The gas limit did not suffice; inside a block the fee is spent, the deposit is not made."""

    retryable = True


class DepositIdsUnclear(ChainError):
    """A deposit transaction was included at ``height`` but its data does not tell the ids: search for the keys."""

    def __init__(self, happened: str, to_do: str = "", *, height: int = 0) -> None:
        super().__init__(happened, to_do)
        self.height = height


class TransactionRefused(_Coded):
    """CheckTx refused the transaction: it is not in the mempool and nothing was spent."""


class SequenceMismatch(TransactionRefused):
    """The account's sequence is another: some other transaction of this account came first."""

    retryable = True


class SignatureRefused(TransactionRefused):
    """Signature, chain id or account number are wrong."""


class FeeTooLow(TransactionRefused):
    """The node's minimum gas price is above the network's."""


class MempoolFull(TransactionRefused):
    """The node takes no more transactions at the moment."""

    retryable = True


class StoreError(CredentialsError):
    """The ticket store, or what is done with it."""


class StoreInUse(StoreError):
    """Another process works with the store in a way that does not go together with this one."""

    retryable = True


class StoreUnreachable(StoreError):
    """The database server does not answer, or a connection to it broke. ``unclear``: while it was told to commit."""

    retryable = True

    def __init__(self, happened: str, to_do: str = "", *, unclear: bool = False) -> None:
        super().__init__(happened, to_do)
        self.unclear = unclear


class StoreMoved(StoreError):
    """The content of this store was copied into another one: only that one may be spent from."""


class StoreUnusable(StoreError):
    """The database is damaged, cannot be written, or was written by a newer program."""


class StoreKeyWrong(StoreError):
    """The key does not open this store, or there is none."""


class StoreOfAnotherNetwork(StoreError):
    """The books in this store are of another network."""


class BackupRestored(StoreError):
    """The database is older than it was, or a copy: its next tickets may have been spent already."""


class BookRefused(StoreError):
    """A book cannot be imported, exported or released."""


class BookAlreadyHere(BookRefused):
    """The store has, or had, this very book: a second one would spend its tickets twice."""


class BookUsed(BookRefused):
    """Tickets of the book were spent elsewhere, and it is not certain how many."""


class TicketUnavailable(CredentialsError):
    """No ticket can be paid with now. Nothing was sent, no ticket is lost."""


class OutOfTickets(TicketUnavailable):
    """There is no book with tickets left."""


class PublicDataMissing(TicketUnavailable):
    """The key or the signatures of a book's epoch are not in the store."""

    retryable = True


class ClockSkewed(TicketUnavailable):
    """Our clock is so wrong that every gateway would refuse the ticket. ``skew_seconds`` > 0: it is ahead."""

    retryable = True

    def __init__(self, happened: str, to_do: str = "", *, skew_seconds: float = 0.0) -> None:
        super().__init__(happened, to_do)
        self.skew_seconds = skew_seconds


class NearMidnight(TicketUnavailable):
    """Too close to 00:00 UTC: our day and the gateway's may differ. ``wait_seconds``: until it is over."""

    retryable = True

    def __init__(self, wait_seconds: float) -> None:
        super().__init__(
            "It is about midnight UTC: a ticket dated now could be refused.", "It passes within a minute."
        )
        self.wait_seconds = wait_seconds


class GatewayPaused(TicketUnavailable):
    """The gateway refused the last ticket. ``wait_seconds``: until another one is risked there."""

    retryable = True

    def __init__(self, happened: str, to_do: str = "", *, wait_seconds: float = 0.0) -> None:
        super().__init__(happened, to_do)
        self.wait_seconds = wait_seconds


class GatewayOvercharges(TicketUnavailable):
    """The gateway took tickets without crediting them, or charged more than was sent. ``missing``: bytes."""

    def __init__(self, missing: int) -> None:
        super().__init__(
            f"At the gateway {missing} bytes of the allowance are missing that were never sent.",
            "It gets no more tickets for now: use another gateway.",
        )
        self.missing = missing


class GatewayInDebt(TicketUnavailable):
    """The allowance at the gateway is negative: a ticket would vanish in it. ``allowance``: bytes."""

    def __init__(self, allowance: int) -> None:
        super().__init__(
            f"The allowance at the gateway is {allowance} bytes: it has taken back what a ticket had bought.",
            "Use another gateway; if it happens again, look for a copy of this ticket store.",
        )
        self.allowance = allowance


class SignersError(CredentialsError):
    """The signers of ticketbooks."""

    layer = "signers"


class SignerFailed(SignersError):
    """One signer did not give what it was asked for. ``url`` names it, ``reason`` is short."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"The signer {url} {reason}.")
        self.url = url
        self.reason = reason


class QuorumMissing(SignersError):
    """Fewer signers are well than a book takes, so nothing was paid. ``ill``: why, by address."""

    retryable = True

    def __init__(self, well: int, threshold: int, ill: dict[str, str]) -> None:
        reasons = "; ".join(f"{url}: {why}" for url, why in sorted(ill.items()))
        super().__init__(
            f"{well} signers are ready and {threshold} are needed for a book: nothing was paid. {reasons}.",
            "Try again later.",
        )
        self.well = well
        self.threshold = threshold
        self.ill = ill


class IssuanceHalted(SignersError):
    """The signers are making new keys and issue nothing meanwhile. ``wait_seconds``: about how long."""

    retryable = True

    def __init__(self, wait_seconds: float) -> None:
        super().__init__(
            "The signers are making new keys and issue no books meanwhile.",
            f"What is paid for stays paid for. Try again in {wait_seconds:.0f} s.",
        )
        self.wait_seconds = wait_seconds


class EpochKeysInconsistent(SignersError):
    """The key shares that the chain names do not form one key, or are too few."""

    retryable = True


class EpochDataUnavailable(SignersError):
    """No signer gave the epoch's public signatures in a form that verifies."""

    retryable = True


class IssuanceIncomplete(SignersError):
    """A book is paid for, but too few signers have given valid shares so far. ``problems``: why, by address."""

    retryable = True

    def __init__(self, deposit_id: int, shares: int, threshold: int, problems: dict[str, str]) -> None:
        reasons = "; ".join(f"{url}: {why}" for url, why in sorted(problems.items()))
        super().__init__(
            f"Deposit {deposit_id} is paid and has {shares} of {threshold} shares of its book. {reasons}.",
            "Nothing is lost: it is taken up again with the same request.",
        )
        self.deposit_id = deposit_id
        self.shares = shares
        self.threshold = threshold
        self.problems = problems


class PurchaseError(CredentialsError):
    """One purchase of a book."""

    layer = "chain"


class PurchaseConflict(PurchaseError):
    """Another process has changed the stored purchase in the meantime."""

    retryable = True


class PurchaseUnreadable(PurchaseError, ValueError):
    """A stored purchase is damaged, or of a newer program. It may stand for paid money: keep it."""


class PurchaseDeclined(PurchaseError):
    """Somebody was asked whether to pay and said no."""


class PaymentUnconfirmed(PurchaseError):
    """A transaction was sent and is not on the chain yet. It is looked for again, never replaced by another one.

    ``refused``: a node does not take the same bytes again.
    """

    retryable = True

    def __init__(self, tx_hash: str, why: str = "", *, refused: bool = False) -> None:
        super().__init__(
            f"The payment {tx_hash} was sent and is not on the chain yet{': ' if why else ''}{why.removesuffix('.')}.",
            "It is kept and looked for again; it will not be paid twice.",
        )
        self.tx_hash = tx_hash
        self.refused = refused


class PaymentFailed(PurchaseError):
    """The transaction was included and failed: the fee is spent, the deposit is not made."""
