"""One daemon: flies patrols, sees on the device, speaks through loudspeakers, reports over MQTT."""

__version__ = "0.1.0"
