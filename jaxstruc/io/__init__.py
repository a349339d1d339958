"""Readers of measured curves, and the steps that prepare a curve for a fit."""
