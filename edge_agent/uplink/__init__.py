"""What happened reaches the centre: an outbox on disk, and MQTT as a pipe."""
