"""A frame becomes tracks: cameras, detectors, tracking and plates."""
