"""The ticket store: books, tickets, purchases and public data in one database that is sealed at rest.

``records`` has the types, ``store_io.TicketStore`` the store. From the bottom up: ``keys``, ``sealing`` (pure),
``tables_io`` and ``migrations``, ``database_io``, ``witness_io`` (the guard against restored backups and copies),
then one module for each thing that is kept.
"""
