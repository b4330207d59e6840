"""Number plates: rendered after GA 36-2018, and the detector and the reader that are trained on the renderings."""
