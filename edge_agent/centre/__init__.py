"""The reference consumer at the other end of MQTT: stores, commits, then acknowledges."""
