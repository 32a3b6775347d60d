"""What can go wrong in the proxy, for the person in front of it.

::

    NymgateError                      E_INTERNAL        exit code 1
    ├── ConfigError                   E_CONFIG          2   a file, an environment variable or a flag
    │   └── NetworkFileError          E_NETWORK_FILE    2   the file that describes a network
    ├── DataFolderError               E_DATA_FOLDER     1
    ├── ListenError                   E_LISTEN          1   a listening address cannot be had
    ├── StoreBusy                     E_STORE_IN_USE    6
    ├── NetworkUnreachable            E_NETWORK         4   nym-api, gateway or mixnet out of reach
    │   └── NoUsableExit              E_NO_EXIT         4
    ├── NotRunning                    E_NOT_RUNNING     4   (in ``asking_io``) no running proxy answers
    ├── DependencyFailed              (as found)        by kind: an error of the packages below
    ├── NoAccount                     E_NO_ACCOUNT      2   (in ``money``) nobody pays: no phrase is known
    ├── CommandRefused                E_DECLINED        3   a question was answered with no
    ├── DemoFailed                    E_DEMO            1
    └── StreamRefused                 (as found)        one stream, with its SOCKS reply; the proxy lives on

Every error carries two sentences: what happened, and what to do. Neither names a destination, a key or a
ticket. The same code appears in the log, in the documentation and (later) as metric label.

What an application hears when it gets no stream is the table in ``refusals``.
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3  # by budget or policy
    NETWORK = 4  # out of reach
    EXHAUSTED = 5  # not enough funds or tickets
    BUSY = 6  # another instance holds the store


class Reply(IntEnum):
    """SOCKS5 reply codes, RFC 1928 §6."""

    SUCCEEDED = 0x00
    GENERAL_FAILURE = 0x01
    NOT_ALLOWED = 0x02
    NETWORK_UNREACHABLE = 0x03
    HOST_UNREACHABLE = 0x04
    CONNECTION_REFUSED = 0x05
    TTL_EXPIRED = 0x06
    COMMAND_NOT_SUPPORTED = 0x07
    ADDRESS_TYPE_NOT_SUPPORTED = 0x08


class NymgateError(Exception):
    """Root of the tree. ``what`` happened and what ``todo`` about it, a sentence each."""

    code: str = "E_INTERNAL"
    layer: str = "proxy"
    exit_code: ExitCode = ExitCode.FAILED

    def __init__(self, what: str, todo: str) -> None:
        super().__init__(what, todo)
        self.what = what
        self.todo = todo

    def __str__(self) -> str:
        return f"{self.what} {self.todo}"


class ConfigError(NymgateError):
    """The configuration cannot be used."""

    code = "E_CONFIG"
    layer = "config"
    exit_code = ExitCode.USAGE


class NetworkFileError(ConfigError):
    """The file behind ``network = "path"`` cannot be used."""

    code = "E_NETWORK_FILE"


class DataFolderError(NymgateError):
    """The data folder cannot be made or is open to others."""

    code = "E_DATA_FOLDER"


class ListenError(NymgateError):
    """A listening address is taken, not ours or not permitted."""

    code = "E_LISTEN"


class StoreBusy(NymgateError):
    """Another instance works with the same data folder."""

    code = "E_STORE_IN_USE"
    exit_code = ExitCode.BUSY


class NetworkUnreachable(NymgateError):
    """Something of the network that is needed now does not answer."""

    code = "E_NETWORK"
    exit_code = ExitCode.NETWORK

    def __init__(self, what: str, todo: str, *, layer: str) -> None:
        super().__init__(what, todo)
        self.layer = layer


class NoUsableExit(NetworkUnreachable):
    """No exit that may be used answers."""

    code = "E_NO_EXIT"

    def __init__(self, what: str, todo: str) -> None:
        super().__init__(what, todo, layer="exit")


class DependencyFailed(NymgateError):
    """An error of a package below, with its own layer and code."""

    def __init__(self, what: str, todo: str, *, layer: str, code: str, exit_code: ExitCode) -> None:
        super().__init__(what, todo)
        self.layer = layer
        self.code = code
        self.exit_code = exit_code


class CommandRefused(NymgateError):
    """A question was answered with no."""

    code = "E_DECLINED"
    exit_code = ExitCode.REFUSED


class DemoFailed(NymgateError):
    """The demo did not show what it promises."""

    code = "E_DEMO"


class StreamRefused(NymgateError):
    """One stream cannot be had, or ends before its time; the proxy lives on."""

    def __init__(self, what: str, todo: str, *, code: str, layer: str, socks_reply: Reply) -> None:
        super().__init__(what, todo)
        self.code = code
        self.layer = layer
        self.socks_reply = socks_reply
