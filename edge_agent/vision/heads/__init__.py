"""Detectors by family: how each is fed, and how its output tensors become boxes. Pure."""
