"""An incident becomes a voice: what is said, where and when, and the drivers that send it."""
