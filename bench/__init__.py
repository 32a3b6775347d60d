"""Benchmarks that print ratios to something measured in the same run, so that they hold on any machine.

``python -m bench`` runs them all, ``python -m bench sphinx zknym`` those named.
"""
