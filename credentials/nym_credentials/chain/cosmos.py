"""cosmpy's classes, each imported when it is first used.

cosmpy is untyped, and costs time and memory that only programs which move money should pay.
``cosmos.TxRaw`` is the class as it is; everything here is ``Any`` to the type checker.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

_PROTOS: Final = "cosmpy.protos"
_WHERE: Final = {
    "ProtoAny": "google.protobuf.any_pb2:Any",
    "DecodeError": "google.protobuf.message",
    "AuthInfo": f"{_PROTOS}.cosmos.tx.v1beta1.tx_pb2",
    "BaseAccount": f"{_PROTOS}.cosmos.auth.v1beta1.auth_pb2",
    "BaseVestingAccount": f"{_PROTOS}.cosmos.vesting.v1beta1.vesting_pb2",
    "BroadcastTxRequest": f"{_PROTOS}.cosmos.tx.v1beta1.service_pb2",
    "BroadcastTxResponse": f"{_PROTOS}.cosmos.tx.v1beta1.service_pb2",
    "Coin": f"{_PROTOS}.cosmos.base.v1beta1.coin_pb2",
    "ContinuousVestingAccount": f"{_PROTOS}.cosmos.vesting.v1beta1.vesting_pb2",
    "DelayedVestingAccount": f"{_PROTOS}.cosmos.vesting.v1beta1.vesting_pb2",
    "Fee": f"{_PROTOS}.cosmos.tx.v1beta1.tx_pb2",
    "Event": f"{_PROTOS}.tendermint.abci.types_pb2",
    "EventAttribute": f"{_PROTOS}.tendermint.abci.types_pb2",
    "GetLatestBlockRequest": f"{_PROTOS}.cosmos.base.tendermint.v1beta1.query_pb2",
    "GetLatestBlockResponse": f"{_PROTOS}.cosmos.base.tendermint.v1beta1.query_pb2",
    "GetSyncingRequest": f"{_PROTOS}.cosmos.base.tendermint.v1beta1.query_pb2",
    "GetSyncingResponse": f"{_PROTOS}.cosmos.base.tendermint.v1beta1.query_pb2",
    "GetTxRequest": f"{_PROTOS}.cosmos.tx.v1beta1.service_pb2",
    "GetTxResponse": f"{_PROTOS}.cosmos.tx.v1beta1.service_pb2",
    "GetTxsEventRequest": f"{_PROTOS}.cosmos.tx.v1beta1.service_pb2",
    "GetTxsEventResponse": f"{_PROTOS}.cosmos.tx.v1beta1.service_pb2",
    "GasInfo": f"{_PROTOS}.cosmos.base.abci.v1beta1.abci_pb2",
    "ModeInfo": f"{_PROTOS}.cosmos.tx.v1beta1.tx_pb2",
    "ModuleAccount": f"{_PROTOS}.cosmos.auth.v1beta1.auth_pb2",
    "MsgExecuteContract": f"{_PROTOS}.cosmwasm.wasm.v1.tx_pb2",
    "MsgExecuteContractResponse": f"{_PROTOS}.cosmwasm.wasm.v1.tx_pb2",
    "MsgSend": f"{_PROTOS}.cosmos.bank.v1beta1.tx_pb2",
    "PeriodicVestingAccount": f"{_PROTOS}.cosmos.vesting.v1beta1.vesting_pb2",
    "PermanentLockedAccount": f"{_PROTOS}.cosmos.vesting.v1beta1.vesting_pb2",
    "PubKey": f"{_PROTOS}.cosmos.crypto.secp256k1.keys_pb2",
    "QueryAccountRequest": f"{_PROTOS}.cosmos.auth.v1beta1.query_pb2",
    "QueryAccountResponse": f"{_PROTOS}.cosmos.auth.v1beta1.query_pb2",
    "QueryAllBalancesRequest": f"{_PROTOS}.cosmos.bank.v1beta1.query_pb2",
    "QueryAllBalancesResponse": f"{_PROTOS}.cosmos.bank.v1beta1.query_pb2",
    "QueryBalanceRequest": f"{_PROTOS}.cosmos.bank.v1beta1.query_pb2",
    "QueryBalanceResponse": f"{_PROTOS}.cosmos.bank.v1beta1.query_pb2",
    "QuerySmartContractStateRequest": f"{_PROTOS}.cosmwasm.wasm.v1.query_pb2",
    "QuerySmartContractStateResponse": f"{_PROTOS}.cosmwasm.wasm.v1.query_pb2",
    "SignDoc": f"{_PROTOS}.cosmos.tx.v1beta1.tx_pb2",
    "SignerInfo": f"{_PROTOS}.cosmos.tx.v1beta1.tx_pb2",
    "SimulateRequest": f"{_PROTOS}.cosmos.tx.v1beta1.service_pb2",
    "SimulateResponse": f"{_PROTOS}.cosmos.tx.v1beta1.service_pb2",
    "TxBody": f"{_PROTOS}.cosmos.tx.v1beta1.tx_pb2",
    "TxMsgData": f"{_PROTOS}.cosmos.base.abci.v1beta1.abci_pb2",
    "TxResponse": f"{_PROTOS}.cosmos.base.abci.v1beta1.abci_pb2",
    "TxRaw": f"{_PROTOS}.cosmos.tx.v1beta1.tx_pb2",
    "PrivateKey": "cosmpy.crypto.keypairs",
    "PublicKey": "cosmpy.crypto.keypairs",
    "Address": "cosmpy.crypto.address",
    "LocalWallet": "cosmpy.aerial.wallet",
    "SigningCfg": "cosmpy.aerial.tx",
    "Transaction": "cosmpy.aerial.tx",
    "TxFee": "cosmpy.aerial.tx",
    "ENGLISH_MNEMONIC_WORDS_LIST": "cosmpy.mnemonic.words",
    "derive_child_key_from_mnemonic": "cosmpy.mnemonic",
    "entropy_to_mnemonic": "cosmpy.mnemonic",
    "ParseDict": "google.protobuf.json_format",
    "MessageToDict": "google.protobuf.json_format",
    "ParseError": "google.protobuf.json_format",
    "grpc": "grpc:",
    "ripemd160": "cosmpy.crypto.hashfuncs",
}


def __getattr__(name: str) -> Any:
    """The class or module of that name, kept as an attribute of this module from then on."""
    try:
        module, colon, attribute = _WHERE[name].partition(":")
    except KeyError:
        raise AttributeError(name) from None
    loaded = import_module(module)
    found = globals()[name] = loaded if colon and not attribute else getattr(loaded, attribute or name)
    return found
