"""The test network's own chain: accounts, blocks and contracts as far as payments need them.

docs/protocol/08: CometBFT JSON-RPC in front, the ecash, DKG, multisig and group contracts behind. Signatures,
account numbers, sequences, fees, funds and gas are really checked. Everything but `server_io` is pure: the caller
brings bytes and the time.
"""
