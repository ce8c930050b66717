"""Layers, models and peers against each other, and the calibration of the cost model."""
