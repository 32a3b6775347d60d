"""Tests of the compact e-cash package."""
