"""Images through the same block: glyphs to look at, patches, readers, detectors, and boxes."""
