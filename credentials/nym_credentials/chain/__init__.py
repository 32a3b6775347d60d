"""The Nyx chain: account, queries, deposits (docs/protocol/08).

Pure: ``wallet``, ``gas``, ``transactions``, ``messages`` (protobuf), ``contracts`` and ``dkg`` (JSON of the contracts),
``rpc`` (CometBFT's JSON-RPC), ``records`` (what the client hands out), ``source`` (what a purchase needs of a payment
source). With sockets: ``transport_io``, ``client_io``, ``smartcontract_io``.
"""
