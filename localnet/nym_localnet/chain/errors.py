"""How the chain refuses (docs/protocol/08 §4.5, §5), with the codes and words of the real one.

::

    Rejected(LocalnetError)      a transaction or message is refused; `code`, `codespace` and `log` go to the client
    └── ContractError            by a contract; `text` is what the contract said
    QueryRejected(LocalnetError) a query is refused
"""

from __future__ import annotations

from typing import Final

from nym_localnet.errors import LocalnetError

SDK: Final = "sdk"
WASM: Final = "wasm"

TX_DECODE: Final = 2
UNAUTHORIZED: Final = 4
INSUFFICIENT_FUNDS: Final = 5
UNKNOWN_REQUEST: Final = 6
UNKNOWN_ADDRESS: Final = 9
OUT_OF_GAS: Final = 11
INSUFFICIENT_FEE: Final = 13
TOO_MANY_SIGNATURES: Final = 14
NO_SIGNATURES: Final = 15
INVALID_REQUEST: Final = 18
KEY_NOT_FOUND: Final = 22
WRONG_SEQUENCE: Final = 32
EXECUTE_FAILED: Final = 5
"""codespace wasm"""
NO_SUCH_CONTRACT: Final = 22
"""codespace wasm"""


class Rejected(LocalnetError):
    """A transaction, or a message in it, is refused."""

    def __init__(self, code: int, log: str, codespace: str = SDK) -> None:
        super().__init__(log)
        self.code = code
        self.log = log
        self.codespace = codespace

    def in_message(self, index: int) -> Rejected:
        """The same as the execution of a transaction reports it."""
        log = f"failed to execute message; message index: {index}: {self.log}"
        return Rejected(self.code, log, self.codespace)


class ContractError(Rejected):
    """A contract says no."""

    def __init__(self, text: str) -> None:
        super().__init__(EXECUTE_FAILED, f"{text}: execute wasm contract failed", WASM)
        self.text = text


class QueryRejected(LocalnetError):
    """An ABCI query is refused."""

    def __init__(self, code: int, log: str, codespace: str = SDK) -> None:
        super().__init__(log)
        self.code = code
        self.log = log
        self.codespace = codespace

    @classmethod
    def unknown(cls, description: str) -> QueryRejected:
        """As the real chain wraps what its modules and contracts say."""
        return cls(UNKNOWN_REQUEST, f"rpc error: code = Unknown desc = {description}: unknown request")
