"""Readers of measured curves, and what is done to the curves before any fit."""
