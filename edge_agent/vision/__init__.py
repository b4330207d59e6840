"""A frame becomes tracks: cameras, detectors, tracking, plates, and the pictures that are kept.

`pipeline.open_vision` gives the parts that an agent runs; `pipeline.Eye` is the same work in lock step, one frame at a
time; `record` writes evidence pictures. `track`, `kalman`, `boxes` and `heads` are pure.
"""
